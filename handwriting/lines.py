"""Turns what the finder saw in a picture into candidates, and these into digits, in lines; and finds the way up."""

import functools
from dataclasses import dataclass, fields

import numpy as np
from PIL import Image, ImageDraw, ImageOps
from scipy import ndimage
from scipy.special import expit, logit

from handwriting.finder import PAD
from handwriting.forms import form_of

CANDIDATE = 0.1  # the finder's confidence in a candidate, at the least
THRESHOLD = 0.38  # confidence above which a candidate is taken for a digit: on odd writers' pages, 0.33 makes up more
OVERLAP = 0.35  # of the smaller box: maximum overlap with a surer digit's box
AMONG_TEXT, REJECTED = 1, 3  # in logits, times the share of candidates that are rejected, if there are 3 or more
LEVEL = 4  # weight of the prior that lines are level, in squared digit heights, against the evidence of pairs of digits
MOST = 1000  # maximum number of digits in a picture
TURNED_PART, TURNED_SIZE = 320, 24  # pixels: diameter of the disc tried at other angles, and its digits' size, shrunk
TURNED_DIGITS = 8  # a page is only turned if at least this many digits are read
TURNED_SURER = 1.1  # times the score as it lies, needed to turn a page; 37 turned pages had over 1.25, their discs too
ANGLES, FINER = range(0, 360, 30), (-10, 10)  # degrees: the angles tried, and the offsets tried around the best one


@dataclass
class Found:
    """Digits found in a picture: arrays [N]; positions and sizes are in its pixels."""

    sure: np.ndarray  # the confidence in each, from 0 to 1
    row: np.ndarray  # of the centre
    column: np.ndarray
    height: np.ndarray
    width: np.ndarray
    look: np.ndarray  # int: index of the Look in which it was found
    labels: np.ndarray  # [N, 10]: the judge's log probability that it is a 0, a 1, ...; zeros before it has looked

    def __len__(self):
        return len(self.sure)

    def __getitem__(self, which):
        """The digits that an index array or a slice selects, as Found."""
        return Found(*(getattr(self, field.name)[which] for field in fields(self)))

    def surest_first(self):
        """The same, sorted by confidence."""
        return self[np.argsort(-self.sure, kind="stable")]

    @classmethod
    def at(cls, boxes, sure):
        """Found from boxes, float [N, 4], and confidences, [N]."""
        left, top, right, bottom = np.array(boxes, float).reshape(-1, 4).T
        middle = (top + bottom) / 2, (left + right) / 2
        return cls(np.array(sure), *middle, bottom - top, right - left, np.full(len(top), -1), np.zeros((len(top), 10)))

    @property
    def size(self):
        """The longer side of each."""
        return np.maximum(self.height, self.width)

    @property
    def boxes(self):
        """Left, top, right and bottom of each, [N, 4]."""
        down, across = self.height / 2, self.width / 2
        return np.stack([self.column - across, self.row - down, self.column + across, self.row + down], axis=1)


def candidates(shape, looks):
    """The local maxima of the centre maps of all scales, as Found. shape: the picture's; looks: finder.look's."""
    parts = []
    for number, look in enumerate(looks):
        sure = look.maps[0]
        rows, columns = np.nonzero((sure == ndimage.maximum_filter(sure, 3)) & (sure > CANDIDATE))
        heights, widths = np.exp(look.maps[2:4, rows, columns]) / look.scale
        y, x = ((2 * place + 1 - PAD) / look.scale for place in (rows, columns))
        labels = np.zeros((len(rows), 10))
        part = Found(sure[rows, columns], y, x, heights, widths, np.full(len(rows), number), labels)
        parts.append(part[(y > 0) & (x > 0) & (y < shape[0]) & (x < shape[1])])
    found = Found(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Found)))
    return found.surest_first()[: 4 * MOST]


def among_text(found):
    """The confidence in each candidate, float [N], where words may stand around the digits. found: the candidates.

    The more of a page's candidates are rejected, the more letters and signs are among those that are not.
    """
    surest_first = found.surest_first()
    rejected = surest_first.sure[_apart(surest_first)] <= THRESHOLD
    if rejected.sum() < REJECTED:
        return found.sure
    return expit(logit(found.sure) - AMONG_TEXT * rejected.mean())


def find_digits(picture, looks, found, threshold):
    """The digits in a picture: a list of lines, top to bottom, each a list of (box, form, sure, labels), left to right.

    picture: uint8 array [height, width, 3]; looks: what finder.look returned for it; found: the candidates; threshold:
    the confidence above which a candidate is taken for a digit. A box is (left, top, right, bottom) of the digit's ink
    in pixels, a form a uint8 array [28, 28] with bright ink on black, sure the confidence, from 0 to 1, and labels are
    as in Found. If there are no digits, the list is empty.
    """
    image = Image.fromarray(picture)
    found = found[found.sure > threshold].surest_first()
    forms = {}  # by the digit's index in the initial `found`
    numbers = np.arange(len(found))
    while True:
        kept = _apart(found)
        digits = found[kept]
        for place, number in enumerate(numbers[kept]):
            if number not in forms:
                forms[number] = form_of(image, looks[digits.look[place]], digits, place)
        blank = np.array([number in forms and forms[number] is None for number in numbers], bool)
        if not blank.any():
            break
        found, numbers = found[~blank], numbers[~blank]  # digits that these suppressed may have ink
    seen = zip(numbers[kept], digits.sure, digits.labels, strict=True)
    read = [(*forms[number], sure, labels) for number, sure, labels in seen]
    digits = Found.at([digit[0] for digit in read], [digit[2] for digit in read])
    return [[read[number] for number in line] for line in in_lines(digits)]


def _apart(found):
    """Non-maximum suppression: the indices of those that do not overlap a surer one. `found` has the surest first."""
    boxes, areas = found.boxes.T, found.height * found.width
    left, kept = np.ones(len(found), bool), []
    for number in range(len(found)):
        if left[number] and len(kept) < MOST:
            kept.append(number)
            sides = np.minimum(boxes[2:], boxes[2:, number, None]) - np.maximum(boxes[:2], boxes[:2, number, None])
            left &= np.clip(sides, 0, None).prod(0) <= OVERLAP * np.minimum(areas, areas[number])
    return np.array(kept, int)


def in_lines(digits):
    """Group digits, as Found, into lines, top to bottom, each from left to right: a list of lists of indices."""
    if not len(digits):
        return []
    height = np.median(digits.height)
    down = digits.row[:, None] - digits.row  # how far each digit is below each other one
    across = digits.column[:, None] - digits.column
    slope = 0
    for reach in (4, 8, 16):  # in heights: near digits are surely in one line, distant ones show its slope better
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


def best_angle(picture, boxes, judged):
    """The angle, in degrees clockwise, by which to turn a picture so that it is read with the highest confidence.

    To save time, only a disc around the middle digit is tried, scaled down until its digits can just be read, and the
    judge alone classifies them. boxes: of the digits that were read in the picture as it lies, at least one; judged: a
    function from a picture, and finder.look's `largest` and `smallest`, to its candidates as the judge sees them.
    """
    boxes = np.array(boxes)
    size = np.median((boxes[:, 2:] - boxes[:, :2]).max(1))
    smallest = 1.0  # at this scale alone, the digits of the crop have the right size
    if len(boxes) < TURNED_DIGITS / 2:  # what was found may not be digits at all
        size, smallest = max(picture.shape) * TURNED_SIZE / TURNED_PART, 0.0
    factor = min(1, TURNED_SIZE / size)
    side = min(int(TURNED_PART / factor), max(picture.shape))
    middles = np.median(boxes[:, 1::-1], axis=0)  # row, column
    top, left = (int(np.clip(m - side / 2, 0, max(0, s - side))) for m, s in zip(middles, picture.shape, strict=False))
    part = picture[top : top + side, left : left + side]
    colour, sides = _border_colour(part), [round(side * factor)] * 2
    part = ImageOps.pad(Image.fromarray(part), sides, Image.Resampling.BOX, colour)
    disc = Image.new("L", sides)
    ImageDraw.Draw(disc).ellipse((0, 0, *sides), 255)
    part = np.array(Image.composite(part, Image.new("RGB", sides, colour), disc))

    @functools.cache
    def score(angle):
        found = judged(turned(part, angle, enlarged=False), 1.0, smallest)
        found.sure = found.sure * np.exp(found.labels.max(1))
        found = found[found.sure > THRESHOLD].surest_first()
        return (found.sure[_apart(found)] ** 2).sum()

    best = max(ANGLES, key=score)
    if score(best) <= TURNED_SURER * score(0):
        return 0
    return max((best, *(best + more for more in FINER)), key=score) % 360


def turned(picture, angle, enlarged=True):
    """A picture turned by an angle, in degrees clockwise, enlarged to fit or not; corners get its border's colour."""
    image = Image.fromarray(picture)
    return np.array(image.rotate(-angle, Image.Resampling.BICUBIC, enlarged, fillcolor=_border_colour(picture)))


def _border_colour(picture):
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return tuple(int(value) for value in np.median(border, axis=0))


def turned_back(box, shape, angle):
    """A box in a turned picture -> the box in the original, which has this shape and was turned by this angle."""
    turn = np.deg2rad(angle)
    height, width = shape[:2]
    cosine, sine = abs(np.cos(turn)), abs(np.sin(turn))
    y = np.array([box[1], box[1], box[3], box[3]]) - (height * cosine + width * sine) / 2
    x = np.array([box[0], box[2], box[0], box[2]]) - (width * cosine + height * sine) / 2
    rows = np.cos(turn) * y - np.sin(turn) * x + height / 2
    columns = np.sin(turn) * y + np.cos(turn) * x + width / 2
    return tuple(float(edge) for edge in (columns.min(), rows.min(), columns.max(), rows.max()))
