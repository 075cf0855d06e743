"""What pens leave on paper: digits, signs and words at any size and width, and dirt."""

import cv2
import numpy as np

ENLARGED = 3  # images are brought to this many times their size before their strokes are measured
TRACED = 60  # pixels a height, at the most: strokes are drawn at this size before they are measured
SMALL = 20  # pixels: digits below this height are measured at two thirds of the size
LINE = 0.7  # share of the pens that draw a line of one width; others keep the strokes' width, or change it a little
LINE_WIDTH, FAT = (0.22, 0.17), (0.13, 0.22)  # from this many pixels to this share of the digit's height; shares of it
SWELLING = (-0.03, 0.05)  # of strokes at each edge, in shares of the digit's height
STROKE = 0.1  # of the height: how wide strokes that have no width are, before they swell
TILT, SHEAR, ASPECT = 8, 0.12, 0.12  # standard deviations: degrees, columns a row, of the aspect's logarithm
BENT = 0.09  # of its size: how far a digit's parts are moved, at the most as a standard deviation
UNEVEN = 0.1  # of its size, a standard deviation: how much longer its upper or its lower half is
GAP, OPENING = (0.04, 0.18), (0.06, 0.24)  # radius of a gap anywhere, and at the top, in shares of the digit's height
TOP = 0.12  # of the ink
LEAST_INK = 0.1  # fainter ink is left out where an array is cut to its ink
SOLID = 0.3  # of the darkest ink: fainter ink is at a digit's edge, and of no digit
HYPHEN = (-0.03, 0.4), (0.15, 0.6)  # how far from the digit after it, and how long, in heights
FAR = 1e3
FIVE = np.ones((5, 5))


def any_pen(rng, height, faint, fat):
    """A pen for digits `height` pixels high: ("line", its width in pixels) or ("stroke", strokes swollen by pixels).

    faint: whether its ink is; then it is not as thin. fat: whether it is a marker.
    """
    if fat:
        return "line", rng.uniform(*FAT) * height
    if rng.random() < LINE:
        thinnest = 1 if faint else LINE_WIDTH[0]
        return "line", np.exp(rng.uniform(np.log(thinnest), np.log(max(1, LINE_WIDTH[1] * height))))
    return "stroke", rng.uniform(*SWELLING) * height


def written(rng, shape, height, pen, breaks=0, opened=0, word=False, lean=0):
    """The ink, float32 [h, w] in [0, 1], of a digit, a sign or a word.

    shape: an image of it, uint8, which is written about `height` pixels high; or strokes, float [points, 2] each, x
    and y in units of `height`. The edges of the array are the edges of the ink. pen: as any_pen gives it; breaks: the
    chance of gaps; opened: that of one at the top, where many people do not close a 0, 6, 8 or 9. word: whether it is
    turned less than a digit; lean: by how many columns a row it leans.
    """
    kind, width = pen
    radius = max(width, 1.2) / 2 if kind == "line" else width  # pixels
    if isinstance(shape, list):
        size = TRACED if height > SMALL else 2 * TRACED / 3
        scale = height / size
        if kind == "stroke":
            radius += STROKE * height / 2
        distance = _distance(1 - _traced(shape, size, int(max(0, radius) / scale) + 3)) - 0.5
    else:
        rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
        enlarged = ENLARGED if height > SMALL else 2 * ENLARGED / 3
        scale = height / ((len(rows) + 1) * enlarged)
        pad = int(max(0, radius) / (scale * enlarged)) + 2
        large = shape[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        large = cv2.copyMakeBorder(large, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
        large = cv2.resize(large, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
        stroke = (large > 255 * rng.uniform(0.35, 0.6)).view(np.uint8)
        inside = _distance(stroke)
        if kind == "line":
            middle = ((inside >= 0.8 * cv2.dilate(inside, FIVE)) & (stroke > 0)).view(np.uint8)
            distance = _distance(1 - cv2.morphologyEx(middle, cv2.MORPH_CLOSE, FIVE)) - 1
        else:
            distance = _distance(1 - stroke) - inside
    darkness = min(1, width) if kind == "line" else 1
    ink = darkness * np.clip(radius + 0.5 - _transformed(rng, distance, scale, 0.3 if word else 1, lean) * scale, 0, 1)
    if rng.random() < breaks:
        for _ in range(rng.integers(1, 3)):
            _break(rng, ink, rng.uniform(*GAP) * height)
    if rng.random() < opened:
        _break(rng, ink, rng.uniform(*OPENING) * height, TOP)
    if ink.max() <= LEAST_INK:  # gaps took all of it, or the pen was thinner than the stroke
        return written(rng, shape, height, ("line", 1), word=word, lean=lean)
    return trimmed(ink)


def _distance(image):
    """How far each pixel, of uint8, is from the next 0."""
    return cv2.distanceTransform(image, cv2.DIST_L2, 3)


def _traced(strokes, size, pad):
    """Strokes as lines one pixel wide, 1 on 0, `size` pixels a height, with `pad` pixels around them."""
    points = np.concatenate(strokes) * size
    low = points.min(0) - pad
    traced = np.zeros(np.int32(np.ceil(points.max(0) - low))[::-1] + pad, np.uint8)
    cv2.polylines(traced, [np.int32(stroke * size - low) for stroke in strokes], False, 1)
    return traced


def printed(strokes, height, width):
    """Strokes as a printer prints them, with lines `width` pixels wide: float32 [h, w] in [0, 1], cut to its ink."""
    points = np.concatenate(strokes) * height
    low = points.min(0) - width / 2 - 2
    image = np.zeros(np.int32(np.ceil(points.max(0) + width / 2 + 2 - low))[::-1] + 1, np.uint8)
    lines = [np.int32((stroke * height - low) * 8) for stroke in strokes]
    cv2.polylines(image, lines, False, 255, max(1, round(width)), cv2.LINE_AA, 3)
    return trimmed(image / np.float32(255))


def least_of(ink):
    """The ink that counts in an array is darker than this: hairlines of small fonts, and thin pens, are fainter."""
    return min(LEAST_INK, SOLID * ink.max())


def bounds(ink):
    """The rows and the columns, as slices, of the ink in an array, of which there must be some."""
    left, top, wide, high = cv2.boundingRect((ink > least_of(ink)).view(np.uint8))
    return slice(top, top + high), slice(left, left + wide)


def trimmed(ink):
    """An array, [h, w], cut to its ink, of which there must be some."""
    return np.ascontiguousarray(ink[bounds(ink)])


def _transformed(rng, distance, scale, tilt, lean):
    """An array scaled, turned (by so much of TILT), sheared, stretched and bent a little, in its new bounds."""
    turn = np.deg2rad(rng.normal(0, tilt * TILT))
    stretch = np.exp(rng.normal(0, ASPECT))
    cosine, sine, shear = scale * np.cos(turn), scale * np.sin(turn), rng.normal(lean, SHEAR)
    matrix = np.array([[cosine * stretch, cosine * shear - sine], [sine * stretch, sine * shear + cosine]])
    sides = matrix * distance.shape[::-1]
    low, high = np.minimum(sides, 0).sum(1), np.maximum(sides, 0).sum(1)
    size = tuple(int(side) for side in np.ceil(high - low) + 2)
    back = np.array([[matrix[1, 1], -matrix[0, 1]], [-matrix[1, 0], matrix[0, 0]]]) / (scale**2 * stretch)
    bent = rng.normal(0, 1, (3, 3, 2)) * rng.uniform(0, BENT, 2) * min(max(size), 2 * size[1])
    places = cv2.resize(np.float32(bent), size, interpolation=cv2.INTER_CUBIC)  # x and y
    places[..., 0] += np.arange(size[0], dtype=np.float32)
    rows = np.arange(size[1], dtype=np.float32)
    rows += np.float32(rng.normal(0, UNEVEN) * size[1]) * np.sin(np.float32(np.pi / size[1]) * rows)
    places[..., 1] += rows[:, None]
    places = cv2.transform(places, np.hstack([back, (back @ (low - 1))[:, None]]))
    return cv2.remap(distance, places, None, cv2.INTER_LINEAR, borderValue=FAR)


def rotated(ink, angle):
    """Ink, float32 [h, w], turned by an angle, degrees clockwise, and cut to it."""
    if angle % 90 == 0:
        return np.rot90(ink, -round(angle / 90))
    turn = np.deg2rad(angle)
    height, width = ink.shape
    cosine, sine = abs(np.cos(turn)), abs(np.sin(turn))
    wide, high = int(width * cosine + height * sine) + 3, int(width * sine + height * cosine) + 3
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -angle, 1)
    matrix[:, 2] += (wide - width) / 2, (high - height) / 2
    return cv2.warpAffine(ink, matrix, (wide, high), flags=cv2.INTER_LINEAR)


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
    up, low = max(0, top), max(0, left)
    below, right = max(up, min(shape[0], top + size[0])), max(low, min(shape[1], left + size[1]))
    return (slice(up, below), slice(low, right)), (slice(up - top, below - top), slice(low - left, right - left))


def dirt(rng, has, height, digit_ink, boxes):
    """Ink that is no digit, float32 like digit_ink, on a page of digits of a height: what `has` names, a dict.

    boxes: of its digits, (left, top, right, bottom), around which boxes are drawn.
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
        for left, top, _, bottom in boxes:
            if rng.random() < 0.1:
                _hyphen(rng, ink, top + rng.uniform(0.35, 0.9) * (bottom - top), left, height, pen)
    if rng.random() < 0.85:  # mostly apart from the digits
        ink *= 1 - cv2.dilate(digit_ink, FIVE)
    if has["boxes"]:
        margin = rng.uniform(0.12, 0.5) * height
        for left, top, right, bottom in boxes:
            corner, other = (int(left - margin), int(top - margin)), (int(right + margin), int(bottom + margin))
            cv2.rectangle(ink, corner, other, 255, max(1, pen // 2), cv2.LINE_AA)
    if has["circled"]:
        for left, top, right, bottom in boxes:
            if rng.random() < 0.15:
                _circle(rng, ink, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top, pen)
    return ink / np.float32(255)


def _circle(rng, ink, x, y, wide, high, pen):
    """Draw a circle around something by hand, or a line below it."""
    side = max(wide, high)
    if rng.random() < 0.25:
        ends = [(int(x + way * 0.7 * side), int(y + high * 0.7 + rng.normal(0, 0.05) * side)) for way in (-1, 1)]
        cv2.line(ink, *ends, 255, pen, cv2.LINE_AA)
        return
    axes = int(wide / 2 + rng.uniform(0.2, 0.6) * side), int(high / 2 + rng.uniform(0.15, 0.4) * side)
    start, middle = rng.uniform(0, 360), (int(x), int(y))
    cv2.ellipse(ink, middle, axes, rng.normal(0, 10), start, start + rng.uniform(330, 420), 255, pen, cv2.LINE_AA)


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
