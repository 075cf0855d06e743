"""An MNIST digit as the strokes of a pen."""

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.morphology import skeletonize

AROUND = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]


def strokes_of(digit, scale=4):
    """The middle lines of a digit, uint8 [28, 28]: a list of strokes, each a list of points (x, y) in its pixels."""
    large = Image.fromarray(digit).resize((28 * scale, 28 * scale), Image.Resampling.BICUBIC)
    ink = ndimage.gaussian_filter(np.asarray(large, np.float32), scale / 3) > 100
    left = {tuple(point) for point in np.argwhere(skeletonize(ink)).tolist()}
    seen, strokes = set(), []

    def near(point, among):
        around = [(point[0] + row, point[1] + column) for row, column in AROUND]
        return [neighbour for neighbour in around if neighbour in among]

    while left:
        # A stroke begins at an end, which has one neighbour, or, in a closed curve, anywhere.
        point = min(left, key=lambda point: (len(near(point, left)) != 1, point))
        stroke = near(point, seen)[:1] + [point]
        left.discard(point)
        while ahead := near(point, left):
            back = stroke[-min(len(stroke), 5)]
            point = max(ahead, key=lambda p: np.dot(np.subtract(p, point), np.subtract(point, back)))  # straight on
            stroke.append(point)
            left.discard(point)
        if len(stroke) > 3 or not strokes:  # shorter ones are corners of a crossing
            strokes.append(stroke[::scale] + (near(point, seen)[:1] or [point]))
        seen.update(stroke)
    return [[((column + 0.5) / scale, (row + 0.5) / scale) for row, column in stroke] for stroke in strokes]
