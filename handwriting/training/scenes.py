"""What surrounds the digits on a photo: paper and its lines, light, tables, the camera."""

import cv2
import numpy as np

PAPER = (0.5, 1.0)  # brightness
LINES_APART = (0.9, 2.6)  # of ruled, squared and dotted paper, in heights of a digit
LINE_DARKNESS = (0.15, 1.0)
GRADIENT, VIGNETTE = 0.6, 1.4  # at the most: light lost from one side to the other, and towards the corners
SHADOW, SHADOW_EDGE = (0.2, 0.7), (0.003, 0.08)  # light lost in it; how wide its edge is, in shares of the page
GLARE = (0.2, 0.8)  # light added
ROUGH = (2, 6)  # pixels: the size of the grains of rough paper
TABLE = (0.03, 0.8)  # brightness
TABLE_EDGE = (-0.5, 0.45)  # from the middle of the picture, in its sides
ACROSS, ALONG = (20, 110), (2, 25)  # streaks on a page's length
COARSE = (1.3, 3)  # pixels of the photo for one of the scene's
BLUR, HEAVY_BLUR = (0.3, 1.2), (0.04, 0.11)  # standard deviations: in pixels; in heights of a digit
NOISE, GAMMA, JPEG = 0.06, (0.7, 1.5), (15, 95)


def field(rng, shape, cells, size):
    """A smooth random field, float32 `shape`, of standard deviation `size`, with so many cells a side."""
    grid = rng.normal(0, size, (cells + 1, cells + 1)).astype(np.float32)
    return cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _axes(shape):
    """Rows and columns, float32, from -0.5 to 0.5 along the longer side."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return (y - shape[0] / 2) / max(shape), (x - shape[1] / 2) / max(shape)


def _across(rng, shape):
    """How far each pixel lies from the middle in a random direction, -0.5 to 0.5 or so."""
    y, x = _axes(shape)
    angle = rng.uniform(0, 2 * np.pi)
    return np.float32(np.cos(angle)) * y + np.float32(np.sin(angle)) * x


def _streaks(rng, shape):
    """Short streaks in one direction, as of wood or cloth, float32 `shape`, of a standard deviation near 1."""
    noise = rng.standard_normal((64, 64), np.float32)
    y, x = _axes(shape)
    angle = rng.uniform(0, 2 * np.pi)
    across = np.float32(np.cos(angle)) * y + np.float32(np.sin(angle)) * x + 0.1 * field(rng, shape, 3, 0.3)
    along = np.float32(np.cos(angle)) * x - np.float32(np.sin(angle)) * y
    across, along = (part * np.float32(rng.uniform(*cells)) for part, cells in ((across, ACROSS), (along, ALONG)))
    return cv2.remap(noise, across, along, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)


def spread(layer, colour=(1, 1, 1)):
    """A layer, float32 [height, width], in three channels, times its colour. NumPy takes five times as long for it."""
    return cv2.merge([layer * float(part) for part in colour])


def paper(rng, shape, yellow, rough):
    """A blank sheet, float32 [height, width, 3]."""
    tint = 1 - np.abs(rng.normal(0, 0.06, 3)) * (rng.random() < 0.6)
    if yellow:
        tint = tint * (1, 0.9, rng.uniform(0.45, 0.8))
    grain = 1 + field(rng, shape, 20, 0.008) + field(rng, shape, 60, 0.008)
    if rough:
        grain += field(rng, shape, int(max(shape) / rng.uniform(*ROUGH)), rng.uniform(0.01, 0.08))
    return spread(grain, rng.uniform(*PAPER) * tint)


def rule(rng, sheet, height, kind):
    """Print "ruled", "squared" or "dotted" lines, slightly tilted or bent, on a sheet for digits of a height."""
    shape = sheet.shape[:2]
    side = max(shape)
    lines = np.zeros(shape, np.float32)
    apart = max(6, rng.uniform(*LINES_APART) * height)
    along = np.linspace(-0.1 * side, 1.1 * side, 12)
    bend = rng.normal(0, 4) * np.sin(along / side * 3) * (rng.random() < 0.4) + np.tan(rng.normal(0, 0.03)) * along
    width = int(rng.integers(1, 3))
    for y in np.arange(rng.uniform(-0.3 * side, -0.2 * side), 1.3 * side, apart):
        if kind == "dotted":
            for x in np.arange(0, shape[1], apart):
                centre = int(x), int(np.interp(x, along, y + bend))
                cv2.circle(lines, centre, width, 1, -1, cv2.LINE_AA)
        else:
            _curve(lines, along, y + bend, width)
            if kind == "squared":
                _curve(lines, y + bend, along, width)
    colour = rng.uniform((0.2, 0.3, 0.5), (0.9, 0.9, 1)) if rng.random() < 0.7 else np.full(3, rng.uniform(0.1, 0.8))
    sheet *= 1 - spread(lines, (1 - colour) * rng.uniform(*LINE_DARKNESS))
    if rng.random() < 0.3:  # a red margin line
        lines[:] = 0
        x = rng.uniform(0, shape[1])
        _curve(lines, np.array([x, x + rng.normal(0, 0.03) * side]), np.array([0, shape[0]]), width)
        sheet *= 1 - spread(lines, (0.1, 0.6, 0.6))


def _curve(image, x, y, width, value=1.0):
    """Draw a line through points, anti-aliased."""
    cv2.polylines(image, [np.int32(np.stack([x, y], 1) * 8)], False, value, width, cv2.LINE_AA, 3)


def light(rng, shape, has):
    """How much light falls on each pixel, float32 `shape`, uneven in the ways that `has` names, a dict."""
    amount = np.ones(shape, np.float32)
    y, x = _axes(shape)
    if has["gradient"]:
        amount *= 1 + rng.uniform(0, GRADIENT) * _across(rng, shape)
    if has["vignette"]:
        amount *= 1 - rng.uniform(0, VIGNETTE) * ((y - rng.normal(0, 0.15)) ** 2 + (x - rng.normal(0, 0.15)) ** 2)
    if has["shadow"]:
        edge = _across(rng, shape) + field(rng, shape, 3, 0.06) - rng.uniform(-0.4, 0.4)
        amount *= 1 - rng.uniform(*SHADOW) / (1 + np.exp(np.clip(-edge / rng.uniform(*SHADOW_EDGE), -30, 30)))
    if has["glare"]:
        distance = (y - rng.uniform(-0.5, 0.5)) ** 2 + (x - rng.uniform(-0.5, 0.5)) ** 2
        amount += rng.uniform(*GLARE) * np.exp(-distance / rng.uniform(0.005, 0.08))
    return amount


def table(rng, shape):
    """A table beside the sheet: its picture, float32 [height, width, 3], and where it is, float32 `shape`."""
    edge = _across(rng, shape) - rng.uniform(*TABLE_EDGE)
    if rng.random() < 0.5:  # a corner of the sheet
        edge = np.maximum(edge, _across(rng, shape) - rng.uniform(0.05, 0.45))
    where = np.clip(edge * max(shape) / rng.uniform(0.7, 4) + 0.5, 0, 1)
    grain = sum(field(rng, shape, cells, rng.uniform(0, 0.12)) for cells in (4, 12, 40, 90))
    if rng.random() < 0.6:  # wood, cloth
        grain += rng.uniform(0.03, 0.2) * _streaks(rng, shape)
    grain += rng.normal(0, rng.uniform(0, 0.06), shape).astype(np.float32)
    colour = np.clip(rng.uniform(*TABLE) * np.exp(rng.normal(0, 0.3, 3)), 0, 1)
    return spread(1 + grain, colour), where


def edges(rng, shape):
    """Where a scan's dark edges and holes, or a spiral, hide the paper: float32 `shape`."""
    where, side = np.zeros(shape, np.float32), max(shape)
    for turns in rng.choice(4, int(rng.integers(1, 3)), replace=False):
        turned = np.ascontiguousarray(np.rot90(where, turns))
        length = turned.shape[1]
        low = rng.uniform(0, 0.1) * side * (rng.random() < 0.7) + field(rng, (1, length), 6, rng.uniform(0, 3))
        turned[np.arange(len(turned))[:, None] < low] = 1
        if rng.random() < 0.3:
            apart, size = rng.uniform(0.04, 0.3) * side, rng.uniform(0.008, 0.03) * side
            y = rng.uniform(0.01, 0.08) * side
            for x in np.arange(rng.uniform(0, apart), length, apart):
                cv2.ellipse(turned, (int(x), int(y)), (int(size), int(size * 1.5)), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
        where = np.rot90(turned, -turns)
    return np.ascontiguousarray(where)


def coarse(rng, scene):
    """A scene, float32 [height, width, 3], enlarged from a third to three quarters of its pixels."""
    size = scene.shape[1::-1]
    few = tuple(int(side / rng.uniform(*COARSE)) for side in size)
    return cv2.resize(cv2.resize(scene, few, interpolation=cv2.INTER_AREA), size, interpolation=cv2.INTER_CUBIC)


def photographed(rng, scene, height, heavy_blur, noise, jpeg, binarised):
    """A scene, float32 [height, width, 3], as a camera gives it, uint8; the four say which kinds of harm it does."""
    if heavy_blur:
        scene = cv2.GaussianBlur(scene, (0, 0), 0.5 + rng.uniform(*HEAVY_BLUR) * height)
    elif rng.random() < 0.6:
        scene = cv2.GaussianBlur(scene, (0, 0), rng.uniform(*BLUR))
    if noise:
        grain = rng.standard_normal(scene.shape, np.float32) * np.float32(rng.uniform(0, NOISE))
        scene = scene + (cv2.GaussianBlur(grain, (0, 0), 0.8) * 2 if rng.random() < 0.3 else grain)
    photo = np.uint8(np.rint(255 * cv2.pow(np.clip(scene, 0, 1), rng.uniform(*GAMMA))))
    if binarised:
        grey = photo.mean(2, dtype=np.float32)
        grey -= cv2.GaussianBlur(grey, (0, 0), 1.5 * height)  # as scanners do, against the paper around
        dark, light_side = np.percentile(grey, (2, 98))
        level = rng.uniform(0.4, 0.7) * (dark if -dark > light_side else light_side)
        photo = cv2.merge([255 * np.uint8((grey > level) ^ (rng.random() < 0.4))] * 3)
    if jpeg:
        photo = cv2.imdecode(cv2.imencode(".jpg", photo, [1, int(rng.integers(*JPEG))])[1], 1)
    return photo
