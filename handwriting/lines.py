"""What the finder saw on a picture -> its digits, in lines."""

import numpy as np
from PIL import Image
from scipy import ndimage

from handwriting.finder import CERTAIN, PAD
from handwriting.forms import form_of

DOUBTFUL = 0.15  # how sure the finder has to be of a digit beside one that is certain, or alone on a picture
OVERLAP = 0.4, 0.15  # of the smaller of two boxes: with more, they are one digit; where the less sure one is doubtful
SIZES = (0.42, 2.4)  # of the page's digits, in the size of the middle one
CONTRAST = 0.35  # of the page's darkest digits: what has less is no ink
LEVEL = 4  # in heights, squared: so much speaks for level rows before any pair of digits tells of their slope
MOST = 1000  # digits on a picture
SURE, ROW, COLUMN, HEIGHT, WIDTH, SCALE = range(6)  # what a found digit is: a row of these numbers


def find_digits(picture, looks):
    """The digits on a picture, in reading order: lines from top to bottom of (box, form, sure), left to right.

    picture: uint8 array [height, width, 3]; looks: what finder.look gives of it. A box is (top, left, bottom, right) in
    pixels, a form a uint8 array [28, 28], ink bright on black, and sure how sure the finder is, from 0 to 1. The list
    is empty where there are no digits.
    """
    image = Image.fromarray(picture)
    found = _of_one_pen(image, np.concatenate([_centres(number, *look) for number, look in enumerate(looks)]))
    forms = {}
    while True:
        digits = _of_one_size(_believed(_apart(found)))
        for digit in digits:
            if tuple(digit) not in forms:
                forms[tuple(digit)] = form_of(image, looks[int(digit[SCALE])], digit, digits)
        blank = np.array([forms.get(tuple(digit), 0) is None for digit in found], bool)
        if not blank.any():
            break
        found = found[~blank]  # what they stood before, found at another scale, may have ink
    return [[(_box(digit), forms[tuple(digit)], digit[SURE]) for digit in line] for line in _lines(digits)]


def _box(digit):
    down, across = digit[HEIGHT] / 2, digit[WIDTH] / 2
    return digit[ROW] - down, digit[COLUMN] - across, digit[ROW] + down, digit[COLUMN] + across


def _centres(number, scale, maps, shape):
    """The digits whose centres stand out in the maps of one scale, as rows of numbers, float [N, 6]."""
    sure = maps[0]
    rows, columns = np.nonzero((sure == ndimage.maximum_filter(sure, 3)) & (sure > DOUBTFUL))
    heights, widths = np.exp(maps[2:4, rows, columns])
    y, x = (2 * rows + 1 - PAD) / scale, (2 * columns + 1 - PAD) / scale
    found = np.stack([sure[rows, columns], y, x, heights / scale, widths / scale, np.full(len(rows), number)], axis=1)
    return found[(y > 0) & (x > 0) & (y < shape[0]) & (x < shape[1])]


def _of_one_pen(image, found):
    """The digits, the surest first, without those whose ink hardly stands out beside that of the page's darkest.

    The grain of paper, wood and cloth looks like rows of small digits.
    """
    found = found[np.argsort(-found[:, SURE], kind="stable")][: 4 * MOST]
    if not len(found):
        return found
    boxes = np.clip(np.stack(_box(found.T), axis=1), 0, (image.height, image.width) * 2)
    contrasts = np.array([_contrast(image, *box) for box in boxes])
    order = np.argsort(contrasts)
    certain = found[:, SURE] > min(CERTAIN, found[:, SURE].max() * 0.99)
    weights = np.cumsum((found[:, SURE] * found[:, [HEIGHT, WIDTH]].max(1) * certain)[order])
    darkest = contrasts[order][np.searchsorted(weights, weights[-1] * 0.9)]
    return found[contrasts > CONTRAST * darkest]


def _contrast(image, top, left, bottom, right):
    """How much the ink in a box differs from its paper, in the colour in which it does most, from 0 to 1."""
    if bottom - top < 1 or right - left < 1:
        return 0.0
    pixels = image.resize((12, 12), Image.Resampling.BOX, box=(left, top, right, bottom), reducing_gap=2)
    pixels = np.sort(np.asarray(pixels, dtype=np.float32).reshape(144, 3), axis=0)
    low, high = pixels[8], pixels[-9]
    return float(((high - low) / (high + 16)).max())


def _apart(found):
    """The digits, the surest first, without those that overlap a surer one."""
    boxes = np.stack(_box(found.T))
    areas = found[:, HEIGHT] * found[:, WIDTH]
    most = np.where(found[:, SURE] > CERTAIN, *OVERLAP)
    left, kept = np.ones(len(found), bool), []
    for number in range(len(found)):
        if left[number] and len(kept) < MOST:
            kept.append(number)
            sides = np.minimum(boxes[2:], boxes[2:, number, None]) - np.maximum(boxes[:2], boxes[:2, number, None])
            left &= np.clip(sides, 0, None).prod(0) <= most * np.minimum(areas, areas[number])
    return found[kept]


def _believed(found):
    """The digits that are certain, and the doubtful ones in their rows; without a certain one, the surest."""
    if not len(found):
        return found
    believed = found[:, SURE] > min(CERTAIN, found[:, SURE].max() * 0.99)
    sizes = found[:, [HEIGHT, WIDTH]].max(1)
    while True:
        down, across = (np.abs(found[:, None, axis] - found[believed, axis]) for axis in (ROW, COLUMN))
        size = sizes[:, None] / sizes[believed]
        beside = (down < 0.35 * sizes[believed]) & (across < 2.2 * sizes[believed]) & (size > 0.6) & (size < 1.6)
        more = believed | beside.any(1)
        if (more == believed).all():
            return found[believed]
        believed = more


def _of_one_size(found):
    """The digits without those much smaller or larger than the others: the middle one by size and by certainty."""
    if not len(found):
        return found
    sizes = found[:, [HEIGHT, WIDTH]].max(1)
    order = np.argsort(sizes)
    weights = np.cumsum((found[:, SURE] ** 2 * sizes**1.5)[order])
    middle = sizes[order][np.searchsorted(weights, weights[-1] / 2)]
    return found[(sizes > SIZES[0] * middle) & (sizes < SIZES[1] * middle)]


def _lines(digits):
    """Digits, float [N, 6], in lines from top to bottom, each from left to right: a list of lists of them."""
    if not len(digits):
        return []
    height = np.median(digits[:, HEIGHT])
    down = digits[:, None, ROW] - digits[:, ROW]  # of one digit from another
    across = digits[:, None, COLUMN] - digits[:, COLUMN]
    slope = 0
    for reach in (4, 8, 16):  # in heights: what is near is surely in one line, what is far tells more of its slope
        beside = (across > 0) & (across < reach * height) & (np.abs(down - slope * across) < 0.6 * height)
        slope = (down * across)[beside].sum() / (LEVEL * height**2 + (across[beside] ** 2).sum())
    lines = []
    for digit in digits[np.argsort(digits[:, COLUMN])]:
        best = None
        for line in lines:
            last = line[-1]
            gap = digit[COLUMN] - last[COLUMN]
            climbed = abs(digit[ROW] - last[ROW] - slope * gap)
            far = climbed + 0.1 * gap
            shared = (digit[HEIGHT] + last[HEIGHT]) / 2 - climbed
            if shared > 0.2 * min(digit[HEIGHT], last[HEIGHT]) and (best is None or far < best[0]):
                best = far, line
        if best:
            best[1].append(digit)
        else:
            lines.append([digit])
    lines = _joined(sorted(lines, key=lambda line: line[0][COLUMN]), height)
    return sorted(lines, key=lambda line: np.mean([digit[ROW] - slope * digit[COLUMN] for digit in line]))


def _joined(lines, height):
    """Lines, by the column of their first digit, with those joined of which one goes on beside another, as high as it.

    In a number written in groups, each group may climb by itself.
    """
    joined = []
    for line in lines:
        row, left = np.mean([digit[ROW] for digit in line]), line[0][COLUMN]
        best = 0.5 * height, None
        for other in joined:
            if 0 < left - other[-1][COLUMN] < 4 * height:
                down = abs(row - np.mean([digit[ROW] for digit in other]))
                if down < best[0]:
                    best = down, other
        if best[1]:
            best[1].extend(line)
        else:
            joined.append(line)
    return joined
