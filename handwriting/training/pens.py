"""What pens leave on paper: MNIST's digits at any size and width, and ink that is no digit."""

import cv2
import numpy as np

from handwriting.training.scenes import field

ENLARGED = 3  # MNIST's digits are brought to this many times their size before their strokes are measured
LINE = 0.7  # share of the pens that draw a line of one width; others keep MNIST's strokes, thinner or thicker
LINE_WIDTH = (0.22, 0.17)  # from this many pixels to this share of the digit's height
SWELLING = (-0.03, 0.05)  # of MNIST's strokes at each edge, in shares of the digit's height
TILT, SHEAR, ASPECT = 8, 0.12, 0.12  # standard deviations: degrees, columns a row, of the aspect's logarithm
BENT = 0.09  # of its size: how far a digit's parts are moved, at the most as a standard deviation
UNEVEN = 0.1  # of its size, a standard deviation: how much longer its upper or its lower half is
GAP, OPENING = (0.04, 0.18), (0.06, 0.24)  # radius of a gap anywhere, and at the top, in shares of the digit's height
TOP = 0.12  # of the ink
LEAST_INK = 0.1  # fainter ink is left out where an array is cut to its ink
HYPHEN = (-0.03, 0.4), (0.15, 0.6)  # how far from the digit after it, and how long, in heights
FAR = 1e3


def any_pen(rng, height, faint):
    """A pen for digits `height` pixels high: ("line", its width in pixels) or ("stroke", MNIST's swollen by pixels).

    faint: whether its ink is; then it is not as thin.
    """
    if rng.random() < LINE:
        thinnest = 1 if faint else LINE_WIDTH[0]
        return "line", np.exp(rng.uniform(np.log(thinnest), np.log(max(1, LINE_WIDTH[1] * height))))
    return "stroke", rng.uniform(*SWELLING) * height


def written(rng, digit, height, pen, breaks=0, opened=0, word=False):
    """The ink, float32 [h, w] in [0, 1], of an MNIST digit, uint8 [28, 28], written about `height` pixels high.

    The edges of the array are the edges of the ink. pen: as any_pen gives it; breaks: the chance of gaps; opened: that
    of one at the top, where many people do not close a 0, 6, 8 or 9. word: whether it is a whole word, uint8 of any
    size, which is turned less.
    """
    kind, width = pen
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    large = np.pad(digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 3).astype(np.float32) / 255
    large = cv2.resize(large, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    stroke = (large > rng.uniform(0.35, 0.6)).astype(np.uint8)
    scale = height / ((len(rows) + 1) * ENLARGED)
    inside = cv2.distanceTransform(stroke, cv2.DIST_L2, 3)
    if kind == "line":
        middle = (inside >= 0.8 * cv2.dilate(inside, np.ones((5, 5)))) & (stroke > 0)
        middle = cv2.morphologyEx(middle.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5)))
        distance = cv2.distanceTransform(1 - middle, cv2.DIST_L2, 3) - 1
        radius, darkness = max(width, 1.2) / 2, min(1, width)
    else:
        distance = cv2.distanceTransform(1 - stroke, cv2.DIST_L2, 3) - inside
        radius, darkness = width, 1
    ink = darkness * np.clip(radius + 0.5 - _transformed(rng, distance, scale, 0.3 if word else 1) * scale, 0, 1)
    if rng.random() < breaks:
        for _ in range(rng.integers(1, 3)):
            _break(rng, ink, rng.uniform(*GAP) * height)
    if rng.random() < opened:
        _break(rng, ink, rng.uniform(*OPENING) * height, TOP)
    if ink.max() <= LEAST_INK:  # gaps took all of it, or the pen was thinner than the stroke
        return written(rng, digit, height, ("line", 1), word=word)
    return trimmed(ink)


def trimmed(ink):
    """An array, [h, w], cut to its ink, of which there must be some."""
    least = min(LEAST_INK, ink.max() / 2)  # a font's hairlines are fainter where it is small
    rows, columns = (np.flatnonzero(ink.max(axis) > least) for axis in (1, 0))
    return np.ascontiguousarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _transformed(rng, distance, scale, tilt):
    """An array scaled, turned (by so much of TILT), sheared, stretched and bent a little, in its new bounds."""
    turn = np.deg2rad(rng.normal(0, tilt * TILT))
    stretch = np.exp(rng.normal(0, ASPECT))
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = matrix @ np.array([[stretch, rng.normal(0, SHEAR)], [0, 1]])
    height, width = distance.shape
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ matrix.T
    low, high = corners.min(0), corners.max(0)
    size = tuple(int(side) for side in np.ceil(high - low) + 2)
    matrix = np.hstack([matrix, (1 - low)[:, None]])
    distance = cv2.warpAffine(distance, matrix, size, flags=cv2.INTER_LINEAR, borderValue=FAR)
    bent = (field(rng, distance.shape, 2, rng.uniform(0, BENT) * min(max(size), 2 * size[1])) for _ in range(2))
    y, x = (place + way for place, way in zip(np.mgrid[: size[1], : size[0]].astype(np.float32), bent, strict=True))
    y += np.float32(rng.normal(0, UNEVEN) * size[1]) * np.sin(np.pi * np.clip(y / size[1], 0, 1))
    return cv2.remap(distance, x, y, cv2.INTER_LINEAR, borderValue=FAR)


def _break(rng, ink, radius, share=1):
    """Take the ink away around one of its points, among this share of them from the top."""
    rows, columns = np.nonzero(ink > 0.3)
    if len(rows):
        chosen = rng.integers(max(1, int(share * len(rows))))
        y, x = np.ogrid[: ink.shape[0], : ink.shape[1]]
        distance = np.hypot(y - rows[chosen], x - columns[chosen])
        ink *= np.clip(distance - radius + 0.5, 0, 1)


def overlap(shape, top, left, size):
    """Where an array of a size, put at (top, left), lies on a page: the page's slices and the array's."""
    rows, columns = (
        (max(0, start), max(max(0, start), min(length, start + side)))
        for start, side, length in zip((top, left), size, shape, strict=True)
    )
    return (slice(*rows), slice(*columns)), (
        slice(rows[0] - top, rows[1] - top),
        slice(columns[0] - left, columns[1] - left),
    )


def dirt(rng, has, height, digit_ink, glyphs):
    """Ink that is no digit, float32 like digit_ink, on a page of digits of a height: what `has` names, a dict.

    glyphs: (top, left, ink) of the digits, around which boxes are drawn.
    """
    shape = digit_ink.shape
    ink = np.zeros(shape, np.uint8)
    pen = max(1, round(height * rng.uniform(0.05, 0.14)))
    amount = shape[0] * shape[1] / 256**2
    if has["scribbles"]:
        for _ in range(rng.integers(1, max(2, 4 * amount))):
            _scribble(rng, ink, pen)
    if has["specks"]:
        for _ in range(rng.integers(1, max(2, 14 * amount))):
            x, y = (int(rng.integers(0, side)) for side in shape[::-1])
            if rng.random() < 0.5:
                tip = int(x + rng.uniform(0.1, 0.6) * height), int(y + rng.normal(0, 0.1) * height)
                cv2.line(ink, (x, y), tip, 255, pen, cv2.LINE_AA)
            else:
                cv2.circle(ink, (x, y), max(1, int(rng.uniform(0.02, 0.12) * height)), 255, -1, cv2.LINE_AA)
        for top, left, glyph in glyphs:
            if rng.random() < 0.1:
                _hyphen(rng, ink, top + rng.uniform(0.35, 0.9) * glyph.shape[0], left, height, pen)
    if rng.random() < 0.85:  # mostly apart from the digits
        ink *= cv2.dilate(digit_ink, np.ones((5, 5))) < 0.2
    if has["boxes"]:
        margin = rng.uniform(0.12, 0.5) * height
        for top, left, glyph in glyphs:
            corner = int(left - margin), int(top - margin)
            other = int(left + glyph.shape[1] + margin), int(top + glyph.shape[0] + margin)
            cv2.rectangle(ink, corner, other, 255, max(1, pen // 2), cv2.LINE_AA)
    return ink / np.float32(255)


def _hyphen(rng, ink, y, x, height, pen):
    """Draw a hyphen to the left of x."""
    end = x - rng.uniform(*HYPHEN[0]) * height
    start = end - rng.uniform(*HYPHEN[1]) * height
    cv2.line(ink, (int(start), int(y)), (int(end), int(y + rng.normal(0, 0.05) * height)), 255, pen, cv2.LINE_AA)


def _scribble(rng, ink, pen):
    """Draw a wandering line."""
    at = rng.uniform(0, ink.shape[::-1])
    turns = np.cumsum(rng.normal(0, 0.12, int(rng.integers(10, 120))))
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(0.9 * turns)
    x, y = (start + 3 * np.cumsum(step) for start, step in zip(at, (np.cos(angles), np.sin(angles)), strict=True))
    cv2.polylines(ink, [np.int32(np.stack([x, y], 1) * 8)], False, 255, pen, cv2.LINE_AA, 3)


def ink_colour(rng, coloured):
    """The colour of a pen, float32 [3]: dark, or strong in one or two of red, green and blue."""
    colour = np.full(3, rng.uniform(0, 0.35))
    if coloured:
        colour = rng.uniform(0, 0.9, 3)
        colour[rng.integers(3)] *= 0.25
    return np.float32(colour)
