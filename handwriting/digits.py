"""What the finder saw on a picture -> its digits in MNIST's form, in lines."""

import numpy as np
from PIL import Image
from scipy import ndimage

from handwriting.finder import PAD, UNIT

CERTAIN, DOUBTFUL = 0.4, 0.15  # how sure the finder has to be of a digit: anywhere; beside one, or alone on a picture
OVERLAP = 0.4  # of the smaller of two boxes: with more, they are one digit
SIZES = (0.42, 2.4)  # of the page's digits, in the size of the middle one
MOST = 1000  # digits on a picture
PATCH, MARGIN = 56, 0.45  # pixels of a digit's longer side, and around it, while its ink is looked at
OWN = 0.6  # in a digit's size: how far from its centre its ink's votes may lie
SPECK = 0.08  # of a digit's ink: smaller parts are no part of it
SURE, ROW, COLUMN, HEIGHT, WIDTH, SCALE = range(6)  # what a found digit is: a row of these numbers


def find_digits(picture, looks):
    """The digits on a picture, in reading order: lines from top to bottom of (box, form, sure), left to right.

    picture: uint8 array [height, width, 3]; looks: what finder.look gives of it. A box is (top, left, bottom, right) in
    pixels, a form a uint8 array [28, 28], ink bright on black, and sure how sure the finder is, from 0 to 1. The list
    is empty where there are no digits.
    """
    found = np.concatenate([_centres(number, *look) for number, look in enumerate(looks)])
    found = _of_one_size(_believed(_apart(found)))
    image = Image.fromarray(picture)
    forms = [_form(image, looks[int(digit[SCALE])], digit, found) for digit in found]
    lines = _lines(found[[form is not None for form in forms]])
    by_place = {tuple(digit): form for digit, form in zip(found, forms, strict=True)}
    return [[(_box(digit), by_place[tuple(digit)], digit[SURE]) for digit in line] for line in lines]


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


def _apart(found):
    """The digits without those that overlap a surer one."""
    found = found[np.argsort(-found[:, SURE], kind="stable")][: 4 * MOST]
    boxes = np.stack(_box(found.T))
    areas = found[:, HEIGHT] * found[:, WIDTH]
    left, kept = np.ones(len(found), bool), []
    for number in range(len(found)):
        if left[number] and len(kept) < MOST:
            kept.append(number)
            sides = np.minimum(boxes[2:], boxes[2:, number, None]) - np.maximum(boxes[:2], boxes[:2, number, None])
            left &= np.clip(sides, 0, None).prod(0) <= OVERLAP * np.minimum(areas, areas[number])
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
    weights = np.cumsum((found[:, SURE] * sizes)[order])
    middle = sizes[order][np.searchsorted(weights, weights[-1] / 2)]
    return found[(sizes > SIZES[0] * middle) & (sizes < SIZES[1] * middle)]


def _form(image, look, digit, found):
    """One of the digits found on an image as MNIST has it, uint8 [28, 28], or None where it has no ink."""
    scale, maps, _ = look
    size = max(digit[HEIGHT], digit[WIDTH])
    top, left, bottom, right = _box(digit)
    margin = MARGIN * size
    top, left = max(0, top - margin), max(0, left - margin)
    bottom, right = min(image.height, bottom + margin), min(image.width, right + margin)
    fine = min(PATCH / size, 6)
    height, width = max(8, round((bottom - top) * fine)), max(8, round((right - left) * fine))
    patch = image.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, right, bottom))
    patch = np.asarray(patch, dtype=np.float32) / 255
    y = top + (np.arange(height, dtype=np.float32)[:, None] + 0.5) * ((bottom - top) / height)
    x = left + (np.arange(width, dtype=np.float32) + 0.5) * ((right - left) / width)
    ink, down, across = _sampled(maps[[1, 4, 5]], (y * scale + PAD - 1) / 2, (x * scale + PAD - 1) / 2)
    # Ink is the digit's whose centre is nearest to where the ink says that its own is.
    y, x = y + down * (UNIT / scale), x + across * (UNIT / scale)
    near = found[np.abs(found[:, [ROW, COLUMN]] - digit[[ROW, COLUMN]]).max(1) < 2 * size + 1]
    distances = (y[..., None] - near[:, ROW]) ** 2 + (x[..., None] - near[:, COLUMN]) ** 2
    mine = (y - digit[ROW]) ** 2 + (x - digit[COLUMN]) ** 2
    strokes = _strokes(patch, ink, (mine <= distances.min(-1) + 1e-6) & (mine < (OWN * size) ** 2))
    mask = _without_specks(strokes > 0.3)
    if mask.sum() < 8:
        return None
    strokes *= ndimage.binary_dilation(mask, iterations=3)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return _mnist_form(strokes[box], mask[box])


def _sampled(maps, rows, columns):
    """Maps, float [C, H, W], between their pixels, at all pairs of rows [h, 1] and columns [w]: float [C, h, w]."""
    first_row, first_column = int(max(0, rows.min())), int(max(0, columns.min()))
    maps = maps[:, first_row : int(rows.max()) + 2, first_column : int(columns.max()) + 2]
    at = np.broadcast_arrays(rows - first_row, columns - first_column)
    return np.stack([ndimage.map_coordinates(part, at, order=1, mode="nearest") for part in maps])


def _strokes(patch, ink, own):
    """How much ink there is at each pixel of a patch, float [h, w] in [0, 1], of the digit's own.

    patch: float [h, w, 3]; ink: the finder's, float [h, w] in [0, 1], which is not as sharp; own: bool [h, w]. Ink lies
    on the line from the colour of the paper around to the colour of the pen.
    """
    free = ink < 0.15
    if free.sum() < 10:
        free = ink <= np.quantile(ink, 0.4)
    weights = _blurred(free.astype(np.float32)) + 1e-4
    paper = np.stack([_blurred(colour * free) for colour in np.moveaxis(patch, 2, 0)], axis=2) / weights[..., None]
    difference = patch - paper
    strong = ink > max(0.5, 0.7 * ink[own].max(initial=0))
    if not strong.any():
        return np.zeros_like(ink)
    pen = np.median(difference[strong], axis=0)
    strength = (pen**2).sum()
    if strength < 1e-4:
        return np.zeros_like(ink)
    return np.clip(difference @ pen / strength, 0, 1) * np.clip(ink / 0.35, 0, 1) * own


def _without_specks(mask):
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    large = sizes >= SPECK * mask.sum()
    large[0] = False
    return large[parts]


def _blurred(values):
    return ndimage.uniform_filter(ndimage.uniform_filter(values, 19), 19)


def _mnist_form(ink, mask):
    """A digit cut out, float [h, w] in [0, 1], and where its ink is, bool, as MNIST has it: uint8 [28, 28].

    Made as MNIST was (LeCun et al., "Gradient-based learning applied to document recognition", 1998): scaled with its
    aspect kept until the longer side has 20 pixels, anti-aliased, and centred by its centre of mass.
    """
    scale = 20 / max(ink.shape)
    # A pen's stroke, four times the mean distance to its edge, is thickened to MNIST's least where it is thinner.
    thickness = 4 * ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask].mean() - 1
    missing = round((1.8 - thickness * scale) / scale)
    if missing > 0:
        ink = ndimage.grey_dilation(np.pad(ink, missing), (missing + 1, missing + 1))
        scale = 20 / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    small = np.asarray(Image.fromarray(ink.astype(np.float32)).resize((width, height), Image.Resampling.HAMMING))
    small = np.clip(small / max(np.percentile(small[small > 0.1], 90), 0.1), 0, 1) if small.max() > 0.1 else small
    centre = ndimage.center_of_mass(small)
    form = np.zeros((28, 28), np.float32)
    top, left = (int(np.clip(round(14 - c), 0, 28 - side)) for c, side in zip(centre, small.shape, strict=True))
    form[top : top + height, left : left + width] = small
    return np.rint(form * 255).astype(np.uint8)


def _lines(digits):
    """Digits, float [N, 6], in lines from top to bottom, each from left to right: a list of lists of them."""
    if not len(digits):
        return []
    height = np.median(digits[:, HEIGHT])
    down = digits[:, None, ROW] - digits[:, ROW]  # of one digit from another
    across = digits[:, None, COLUMN] - digits[:, COLUMN]
    beside = (across > 0.3 * height) & (across < 4 * height) & (np.abs(down) < 0.6 * height)
    slope = np.median(down[beside] / across[beside]) if beside.any() else 0
    lines = []
    for digit in digits[np.argsort(digits[:, COLUMN])]:
        best = None
        for line in lines:
            last = line[-1]
            climbed = digit[ROW] - last[ROW] - slope * (digit[COLUMN] - last[COLUMN])
            shared = (digit[HEIGHT] + last[HEIGHT]) / 2 - abs(climbed)
            if shared > 0.35 * min(digit[HEIGHT], last[HEIGHT]) and (best is None or abs(climbed) < best[0]):
                best = abs(climbed), line
        if best:
            best[1].append(digit)
        else:
            lines.append([digit])
    return sorted(lines, key=lambda line: np.mean([digit[ROW] - slope * digit[COLUMN] for digit in line]))
