"""Cuts out a digit that was found: its ink alone, in MNIST's form."""

import numpy as np
from PIL import Image
from scipy import ndimage

from handwriting.finder import PAD, UNIT

PATCH, MARGIN = 48, 0.45  # pixels: a digit's longer side in its crop; the margin around it, in digit sizes
OWN = 0.6  # in digit sizes: how far from the digit's centre the votes of its ink may be
SPECK = 0.08  # of a digit's ink: smaller connected components are dropped
FILLED = 0.5  # of the height that the finder gave: if the ink is lower, like a hyphen, it is no digit
THIN, SOFT = 3, 0.35  # pixels of the form: a thinner stroke gets a soft edge of this strength, as MNIST's strokes have


def form_of(image, look, found, number):
    """The box of a digit's ink, and the digit in MNIST's form, or None if it has no ink.

    image: a PIL image, RGB; look: the finder.Look in which the digit was found; found: the lines.Found of the whole
    image; number: the digit's index in it. The box is (left, top, right, bottom), in the image's pixels, and the form a
    uint8 array [28, 28], bright ink on black.
    """
    scale, maps = look.scale, look.maps
    # In float32, like the centres it is compared with below: otherwise rounding could make this one not the nearest.
    row, column = np.float32(found.row[number]), np.float32(found.column[number])
    size = float(found.size[number])
    left, top, right, bottom = (float(edge) for edge in found.boxes[number])
    digit_height = bottom - top
    margin = MARGIN * size
    top, left = max(0, top - margin), max(0, left - margin)
    bottom, right = min(image.height, bottom + margin), min(image.width, right + margin)
    fine = min(PATCH / size, 6)
    height, width = max(8, round((bottom - top) * fine)), max(8, round((right - left) * fine))
    patch = image.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, right, bottom))
    patch = np.asarray(patch, dtype=np.float32) / 255
    y = top + (np.arange(height, dtype=np.float32)[:, None] + 0.5) * ((bottom - top) / height)
    x = left + (np.arange(width, dtype=np.float32) + 0.5) * ((right - left) / width)
    ink, down, across = _sampled(maps, (y * scale + PAD - 1) / 2, (x * scale + PAD - 1) / 2)
    # Ink belongs to the digit whose centre is nearest to where the ink's votes point.
    y, x = y + down * (UNIT / scale), x + across * (UNIT / scale)
    near = np.maximum(np.abs(found.row - row), np.abs(found.column - column)) < 2 * size + 1
    rows, columns = (np.float32(middle[near])[:, None, None] for middle in (found.row, found.column))
    distances = (y - rows) ** 2 + (x - columns) ** 2
    mine = (y - row) ** 2 + (x - column) ** 2
    strokes = _strokes(patch, ink, (mine <= distances.min(0)) & (mine < (OWN * size) ** 2))
    mask = _without_specks(strokes > 0.3)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if mask.sum() < 8 or rows[-1] + 1 - rows[0] < FILLED * digit_height * height / (bottom - top):
        return None
    strokes *= ndimage.binary_dilation(mask, iterations=3)
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    down, across = (bottom - top) / height, (right - left) / width
    box = (left + int(columns[0]) * across, top + int(rows[0]) * down)
    box += (left + int(columns[-1] + 1) * across, top + int(rows[-1] + 1) * down)
    return box, mnist_form(strokes[part], mask[part])


def _sampled(maps, rows, columns):
    """The finder's ink and votes at all pairs of rows [h, 1] and columns [w], by bilinear interpolation.

    Float [3, h, w]. All of a picture lies well inside its maps, because the finder pads it.
    """
    top, left = int(rows.min()), int(columns.min())
    maps = maps[[1, 4, 5], top : int(rows.max()) + 2, left : int(columns.max()) + 2]
    for axis, at in ((1, rows - top), (2, columns - left)):
        before = at.astype(int)
        one, other = (maps.take(indices.ravel(), axis) for indices in (before, before + 1))
        maps = one + (at - before) * (other - one)
    return maps


def _strokes(patch, ink, own):
    """How much of the digit's own ink there is at each pixel of a patch, float [h, w] in [0, 1].

    patch: float [h, w, 3]; ink: the finder's, float [h, w] in [0, 1], which is less sharp; own: bool [h, w]. A pixel's
    ink is how far its colour lies along the line from the colour of the paper around it to the colour of the pen.
    """
    free = ink < 0.15
    if free.sum() < 10:
        free = ink <= np.quantile(ink, 0.4)
    paper = np.dstack([patch * free[..., None], free])
    for _ in range(2):
        paper = ndimage.uniform_filter(paper, (19, 19, 1))
    paper = paper[..., :3] / (paper[..., 3:] + 1e-4)
    difference = patch - paper
    strong = ink > max(0.5, 0.7 * ink[own].max(initial=0))
    if not strong.any():
        return np.zeros_like(ink)
    # A mean weighted by contrast, because the finder's ink is wider than a fine line and takes in paper.
    pen = np.average(difference[strong], axis=0, weights=np.linalg.norm(difference[strong], axis=1) + 1e-6)
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


def mnist_form(ink, mask):
    """A digit's ink, float [h, w] in [0, 1], with the mask of where it is, bool, in MNIST's form: uint8 [28, 28].

    Made as MNIST was (LeCun et al., "Gradient-based learning applied to document recognition", 1998): scaled to 20
    pixels on the longer side with the aspect ratio kept, anti-aliased, and centred on the centre of mass.
    """
    scale = 20 / max(ink.shape)
    # A stroke is four times as wide as its pixels' mean distance to its edge. One thinner than MNIST's is thickened.
    to_edge = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask].mean()
    thickness = (4 * to_edge - 1) * scale
    missing = round((1.8 - thickness) / scale)
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
    if thickness < THIN:
        form += SOFT * (ndimage.grey_dilation(form, (3, 3)) - form)
    return np.rint(form * 255).astype(np.uint8)
