"""An MNIST digit as the strokes of a pen."""

import numpy as np
from PIL import Image
from scipy import ndimage

AROUND = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]  # clockwise from above


def strokes_of(digit, scale=4):
    """The middle lines of a digit, uint8 [28, 28]: a list of strokes, each a list of points (x, y) in its pixels."""
    large = Image.fromarray(digit).resize((28 * scale, 28 * scale), Image.Resampling.BICUBIC)
    ink = ndimage.gaussian_filter(np.asarray(large, np.float32), scale / 3) > 100
    left = {tuple(point) for point in np.argwhere(_thinned(ink)).tolist()}
    seen, strokes = set(), []

    def near(point, among):
        return [
            (point[0] + row, point[1] + column)
            for row, column in AROUND
            if (point[0] + row, point[1] + column) in among
        ]

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


def _thinned(ink):
    """A bool array thinned to lines one pixel wide (Zhang and Suen, 1984)."""
    ink = np.pad(ink, 1)
    changed = True
    while changed:
        changed = False
        for odd in (0, 1):
            ring = np.stack([np.roll(ink, (-row, -column), (0, 1)) for row, column in AROUND])
            up, right, down, left = ring[::2]
            steps = (~ring & np.roll(ring, -1, 0)).sum(0)  # from paper to ink, once around
            one, other = (up & down & left, up & right & left) if odd else (up & right & down, right & down & left)
            edge = ink & (steps == 1) & (ring.sum(0) >= 2) & (ring.sum(0) <= 6) & ~one & ~other
            ink = ink & ~edge
            changed |= edge.any()
    return ink[1:-1, 1:-1]
