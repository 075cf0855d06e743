"""What the finder saw on a picture -> its digits, in lines."""

from dataclasses import dataclass, fields

import numpy as np
from PIL import Image
from scipy import ndimage

from handwriting.finder import CERTAIN, PAD
from handwriting.forms import form_of

DOUBTFUL = 0.4  # how sure the finder has to be of a digit beside one that is certain, or alone on a picture
OVERLAP = 0.4, 0.15  # of the smaller of two boxes: with more, they are one digit; where the less sure one is doubtful
LEVEL = 4  # in heights, squared: so much speaks for level rows before any pair of digits tells of their slope
MOST = 1000  # digits on a picture
STROKE_SURE = 0.9  # how sure it is that a lone stroke is a digit, where nothing but digits is expected


@dataclass
class Found:
    """Digits that were found on a picture: arrays [N], in its pixels."""

    sure: np.ndarray  # how sure the finder is of each, from 0 to 1
    row: np.ndarray  # of its middle
    column: np.ndarray
    height: np.ndarray
    width: np.ndarray
    look: np.ndarray  # int: the number of the look at which it was found

    def __len__(self):
        return len(self.sure)

    def __getitem__(self, which):
        """Those that an index array names, as Found."""
        return Found(*(getattr(self, field.name)[which] for field in fields(self)))

    @classmethod
    def at(cls, boxes, sure):
        """What stands in boxes, float [N, 4], as sure as an array [N] says."""
        top, left, bottom, right = np.array(boxes, float).reshape(-1, 4).T
        middle = (top + bottom) / 2, (left + right) / 2
        return cls(np.array(sure), *middle, bottom - top, right - left, np.full(len(top), -1))

    @property
    def size(self):
        """The longer side of each."""
        return np.maximum(self.height, self.width)

    @property
    def boxes(self):
        """Top, left, bottom and right of each, [N, 4]."""
        down, across = self.height / 2, self.width / 2
        return np.stack([self.row - down, self.column - across, self.row + down, self.column + across], axis=1)


def find_digits(picture, looks, strokes=()):
    """The digits on a picture, in reading order: lines from top to bottom of (box, form, sure), left to right.

    picture: uint8 array [height, width, 3]; looks: what finder.look gives of it; strokes: boxes and forms of what is
    a digit also where the finder saw none. A box is (top, left, bottom, right) of the digit's ink
    in pixels, a form a uint8 array [28, 28], ink bright on black, and sure the chance that it is a digit, from 0 to 1.
    The list is empty where there are no digits.
    """
    image = Image.fromarray(picture)
    found = _centres(picture.shape, looks)
    forms = {}  # by the place in `found`'s first order
    numbers = np.arange(len(found))
    while True:
        kept = _kept(found)
        digits = found[kept]
        for place, number in enumerate(numbers[kept]):
            if number not in forms:
                forms[number] = form_of(image, looks[digits.look[place]], digits, place)
        blank = np.array([number in forms and forms[number] is None for number in numbers], bool)
        if not blank.any():
            break
        found, numbers = found[~blank], numbers[~blank]  # what they stood before may have ink
    read = [(box, form, sure) for (form, box), sure in zip((forms[n] for n in numbers[kept]), digits.sure, strict=True)]
    for box, form in strokes:
        if not any(_covers(other, box) for other, _, _ in read):
            read.append((box, form, STROKE_SURE))
    digits = Found.at([box for box, _, _ in read], [sure for _, _, sure in read])
    return [[read[number] for number in line] for line in in_lines(digits)]


def _covers(box, other):
    """Whether the middle of another box lies in a box."""
    row, column = (other[0] + other[2]) / 2, (other[1] + other[3]) / 2
    return box[0] <= row <= box[2] and box[1] <= column <= box[3]


def _centres(shape, looks):
    """What stands out as a digit's centre at any scale, as Found, the surest first."""
    parts = []
    for number, look in enumerate(looks):
        sure = look.maps[0]
        rows, columns = np.nonzero((sure == ndimage.maximum_filter(sure, 3)) & (sure > DOUBTFUL))
        heights, widths = np.exp(look.maps[2:4, rows, columns]) / look.scale
        y, x = ((2 * place + 1 - PAD) / look.scale for place in (rows, columns))
        part = Found(sure[rows, columns], y, x, heights, widths, np.full(len(rows), number))
        parts.append(part[(y > 0) & (x > 0) & (y < shape[0]) & (x < shape[1])])
    found = Found(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Found)))
    return found[np.argsort(-found.sure, kind="stable")[: 4 * MOST]]


def _kept(found):
    """Which of what was found are digits: an index array."""
    apart = _apart(found)
    return apart[_believed(found[apart])]


def _apart(found):
    """Those that do not overlap a surer one; found has the surest first."""
    boxes, areas = found.boxes.T, found.height * found.width
    most = np.where(found.sure > CERTAIN, *OVERLAP)
    left, kept = np.ones(len(found), bool), []
    for number in range(len(found)):
        if left[number] and len(kept) < MOST:
            kept.append(number)
            sides = np.minimum(boxes[2:], boxes[2:, number, None]) - np.maximum(boxes[:2], boxes[:2, number, None])
            left &= np.clip(sides, 0, None).prod(0) <= most * np.minimum(areas, areas[number])
    return np.array(kept, int)


def _believed(found):
    """Those that are certain, and the doubtful ones in their rows; without a certain one, the surest."""
    believed = found.sure > min(CERTAIN, found.sure.max(initial=0) * 0.99)
    while True:
        sizes = found.size[believed]
        down, across = (np.abs(middle[:, None] - middle[believed]) for middle in (found.row, found.column))
        size = found.size[:, None] / sizes
        beside = (down < 0.35 * sizes) & (across < 2.2 * sizes) & (size > 0.6) & (size < 1.6)
        more = believed | beside.any(1)
        if (more == believed).all():
            return believed
        believed = more


def in_lines(digits):
    """Digits, as Found, in lines from top to bottom, each from left to right: a list of lists of their numbers."""
    if not len(digits):
        return []
    height = np.median(digits.height)
    down = digits.row[:, None] - digits.row  # of one digit from another
    across = digits.column[:, None] - digits.column
    slope = 0
    for reach in (4, 8, 16):  # in heights: what is near is surely in one line, what is far tells more of its slope
        beside = (across > 0) & (across < reach * height) & (np.abs(down - slope * across) < 0.6 * height)
        slope = (down * across)[beside].sum() / (LEVEL * height**2 + (across[beside] ** 2).sum())
    lines = []
    for digit in np.argsort(digits.column):
        best = None
        for line in lines:
            last = line[-1]
            gap = digits.column[digit] - digits.column[last]
            climbed = abs(digits.row[digit] - digits.row[last] - slope * gap)
            far = climbed + 0.1 * gap
            shared = (digits.height[digit] + digits.height[last]) / 2 - climbed
            if shared > 0.2 * min(digits.height[digit], digits.height[last]) and (best is None or far < best[0]):
                best = far, line
        if best:
            best[1].append(digit)
        else:
            lines.append([digit])
    return sorted(lines, key=lambda line: np.mean(digits.row[line] - slope * digits.column[line]))
