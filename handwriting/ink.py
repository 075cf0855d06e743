"""A digit's own ink, in MNIST's form."""

import numpy as np
from PIL import Image
from scipy import ndimage

THIN, SOFT = 3, 0.35  # pixels of the image: a thinner stroke gets a soft edge of this strength, as MNIST's strokes have


def ink_of(detection):
    """The box of the ink of a detector.Detection, and its image in MNIST's form; None if it has no ink.

    The box: (left, top, right, bottom) in the picture's pixels. The image: uint8 [28, 28], bright ink on black.
    """
    strokes = _strokes(detection.patch, np.maximum(detection.own, detection.others), detection.own)
    mask = strokes > 0.3
    if mask.sum() < 8:
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    strokes = strokes * ndimage.binary_dilation(mask, iterations=3)
    left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    part = slice(top, bottom), slice(left, right)
    corner = np.add(detection.corner * 2, np.multiply((left, top, right, bottom), detection.step))
    return tuple(corner.tolist()), mnist_image(strokes[part], mask[part])


def _strokes(patch, ink, own):
    """How much of the digit's own ink there is at each pixel of a patch, float [h, w] in [0, 1].

    A pixel's ink is how far its colour lies along the line from the colour of the paper around it to the colour of the
    pen: the masks are less sharp.
    """
    free = ink < 0.15
    if free.sum() < 10:
        free = ink <= np.quantile(ink, 0.4)
    paper = np.dstack([patch * free[..., None], free])
    for _ in range(2):
        paper = ndimage.uniform_filter(paper, (19, 19, 1))
    paper = paper[..., :3] / (paper[..., 3:] + 1e-4)
    difference = patch - paper
    strong = own > max(0.5, 0.7 * own.max())
    if not strong.any():
        return np.zeros_like(ink)
    # A mean weighted by contrast, because the mask is wider than a fine line and takes in paper.
    pen = np.average(difference[strong], axis=0, weights=np.linalg.norm(difference[strong], axis=1) + 1e-6)
    strength = (pen**2).sum()
    if strength < 1e-4:
        return np.zeros_like(ink)
    return np.clip(difference @ pen / strength, 0, 1) * np.clip(own / 0.35, 0, 1)


def mnist_image(ink, mask):
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
    image = np.zeros((28, 28), np.float32)
    top, left = (int(np.clip(round(14 - c), 0, 28 - side)) for c, side in zip(centre, small.shape, strict=True))
    image[top : top + height, left : left + width] = small
    if thickness < THIN:
        image += SOFT * (ndimage.grey_dilation(image, (3, 3)) - image)
    return np.rint(image * 255).astype(np.uint8)
