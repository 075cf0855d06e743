"""The answers to the page's requests, ready for JSON: what a picture or a drawing says."""

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from scipy.special import expit, logit

from handwriting.forms import mnist_form
from handwriting.layers import address_of
from handwriting.lines import Found, in_lines
from handwriting.photo import pages
from handwriting.reader import TEMPERATURE, Digit, Line, Reading, read, read_drawing
from support.device import predict
from support.errors import UserError

SHEET, PEN = (800, 600), 28  # the size of the page's sheet and the width of its pen, in units of the sheet (page.html)
MOST = 1000  # strokes
STEP = 4  # units: from one point of a stroke to the next
DOT, DOT_SHARE = 20, 0.3  # units, share of the median of all: smaller drawings are dots
TOUCHING, NEAR = 0.1, 0.25  # of the taller stroke's height: how far apart strokes of one digit are, and its bar
OVERLAP = 0.4  # of the narrower stroke's width: strokes that share less may be two digits
NARROW = 0.7  # width / height: only a group that is wider can be several digits
FLAT, LONG = 0.35, 1.5  # of the other stroke's height, and its width: a bar is no higher and no longer
STRAIGHT = 0.1  # of a stroke's length: how far its points lie from the line between its ends, if it is straight
SLASH, SIGN = 20, 35.5  # degrees: a stroke that leans more is a slash between two digits; is never a digit
ONE = 0.95  # the chance that a straight stroke is a digit
TALL, WIDE, INK = 60, 240, 9  # pixels: the height to which a group of strokes is scaled, or its width, and the pen
APART, BELOW, ROW = 150, 60, 900  # pixels: between two groups, side by side and in rows; the width of a row
FOUR = np.array([(7, 30), (7, -30), (-17, 10), (15, 10)])  # pixels: a stroke painted between any two groups, since
# the networks were trained on pages: they are surest of a digit, and reject most letters, when they see digits around
SMOOTH = 3  # they are painted this many times larger, then scaled down, for smooth edges
LIKELY, LINKED = 0.86, 0.6  # the reader's confidences in a group's one digit, in one of several: an even chance of one
STEEP = 2  # how fast the odds rise with that confidence, in logits per logit: measured with digits, letters and signs
CERTAIN, HALF, LEAST = 0.9999, 0.5, 0.2  # chances of a digit: the highest; surely one; answered, if marked as unsure
MIN_SIDE = 8  # pixels: the smallest part that can be read
TURNS = ("0", "90", "180", "270")  # degrees clockwise


def answer_picture(file, part, turn, model, between):
    """Read a picture, a binary file, turned clockwise by "0", "90", "180" or "270" degrees, or a part of it as it is
    then: "left,top,right,bottom", each from 0 to 1. Returns a dict:

    the picture's "width" and "height"; by how many degrees it was "turned"; "lines", from top to bottom, each with its
    "text" and its "numbers", lists of digits: the "box" in the picture [left, top, right, bottom], the "image" that the
    network saw, ten "probabilities", the "answer", its "confidence" and whether it is "unsure"; the "picture" that was
    read, for browsers that can't show the file; and "pages", the number of pages of the file, of which the first is
    read. Pictures are data: URLs. model, between: as for reader.read. Raises UserError.
    """
    _, page, count = next(pages(file, "This file"))
    if isinstance(page, UserError):
        raise page
    if turn not in TURNS:
        raise UserError(f"A picture is turned by {', '.join(TURNS)} degrees")
    picture = np.rot90(page.picture, -TURNS.index(turn))
    height, width = picture.shape[:2]
    try:
        shares = np.clip([float(share) for share in part.split(",")], 0, 1)
        left, top, right, bottom = (int(side * share) for side, share in zip((width, height) * 2, shares, strict=True))
        if min(right - left, bottom - top) < MIN_SIDE:
            raise ValueError
    except ValueError:
        raise UserError("This part is too small: drag a larger frame") from None
    reading = read(np.ascontiguousarray(picture[top:bottom, left:right]), model, between)
    return _answer(reading, (width, height), left, top) | {"picture": address_of(picture, "JPEG"), "pages": count}


def answer_drawing(strokes, pen, model):
    """Read a drawing: the dict of answer_picture, without "picture" and "pages".

    strokes: a list of lists of points [x, y], in the sheet's units. The page sends these instead of pixels: some
    browsers don't let a page read its canvas, and what is drawn from pen-down to pen-up belongs together. pen: its
    width, a number or a string. Raises UserError if they are anything else.
    """
    try:
        pen, strokes = float(pen), [_evenly(stroke) for stroke in strokes]
        if not 0 < pen < max(SHEET) or len(strokes) > MOST:
            raise ValueError
    except (TypeError, ValueError):
        raise UserError(f"A drawing is up to {MOST} strokes, lists of points [x, y]; a pen is a number") from None
    groups = _gathered(strokes, lambda *pair: _touch(*pair) or _overlap(*pair))
    sizes = [max(_size(group)) for group in groups]
    groups = [group for group, size in zip(groups, sizes, strict=True) if size > max(DOT, DOT_SHARE * np.median(sizes))]
    parts = [_gathered(group, _overlap) for group in groups]
    found = iter(_read(groups + [part for some in parts if len(some) > 1 for part in some], pen, model))
    digits, leaning = [], set()
    for group, some, own in zip(groups, parts, [next(found) for _ in groups], strict=True):
        apart = [next(found) for _ in some] if len(some) > 1 else []
        is_apart = apart and max(map(_tilt, some)) <= SLASH  # a straight stroke that leans is none of two digits
        if is_apart and min(map(_chance, apart)) > max(HALF, _chance(own)):
            own = sum(apart, [])
        digits += own
        leaning.update(id(digit) for digit in own if _tilt(group) > SLASH)
    return _answer(Reading(_without_slashes(digits, leaning)), SHEET)


def _evenly(stroke):
    """Points along a stroke, float [N, 2], at most STEP apart."""
    ends = np.nan_to_num(np.array(stroke, float).reshape(-1, 2)).clip(-max(SHEET), 2 * max(SHEET))
    counts = np.ceil(np.hypot(*np.diff(ends, axis=0).T) / STEP).astype(int)
    at = np.concatenate([*(i + np.arange(count) / count for i, count in enumerate(counts) if count), [len(ends) - 1]])
    return np.stack([np.interp(at, np.arange(len(ends)), side) for side in ends.T], 1)


def _gathered(strokes, belong):
    """Groups of strokes, a list of lists, in each of which every stroke belongs to another one."""
    boxes = np.array([_box([stroke]) for stroke in strokes]).reshape(-1, 4)
    reach = NEAR * max(DOT, *(boxes[:, 3] - boxes[:, 1]), 0)
    near = (boxes[:, None, :2] - boxes[:, 2:] <= reach).all(2)  # saves time: most pairs are far apart
    pairs = [(i, j) for i, j in np.argwhere(near & near.T) if i < j and belong(strokes[i], strokes[j])]
    graph = coo_array((np.ones(len(pairs)), np.reshape(pairs, (-1, 2)).T.astype(np.int32)), (len(strokes),) * 2)
    count, numbers = connected_components(graph, directed=False)
    return [[strokes[i] for i in np.flatnonzero(numbers == number)] for number in range(count)]


def _box(group):
    points = np.concatenate(group)
    return np.concatenate([points.min(0), points.max(0)])


def _size(group):
    """Width and height of a group of strokes."""
    left, top, right, bottom = _box(group)
    return right - left, bottom - top


def _touch(one, other, reach=TOUCHING):
    """Whether two strokes touch, or nearly."""
    boxes = np.stack([_box([one]), _box([other])])
    reach *= max(DOT, *(boxes[:, 3] - boxes[:, 1]))
    apart = boxes[:, :2].max(0) - boxes[:, 2:].min(0)
    return bool((apart <= reach).all()) and cdist(one, other).min() <= reach


def _overlap(one, other):
    """Whether two strokes can be of one digit only: they overlap and touch, or one is a bar near the other."""
    (left, top, right, bottom), (start, above, end, below) = _box([one]), _box([other])
    widths, heights = sorted([right - left, end - start]), sorted([bottom - top, below - above])
    shared = (min(right, end) - max(left, start) + STEP) / (widths[0] + STEP)
    is_bar = heights[0] < FLAT * heights[1] and widths[1] < LONG * (widths[0] + DOT)
    return shared >= OVERLAP and _touch(one, other, NEAR if is_bar else TOUCHING)


def _tilt(group):
    """By how many degrees a single straight stroke leans, 0 to 90; -1 for anything else."""
    start, way = group[0][0], group[0][-1] - group[0][0]
    length = np.hypot(*way)
    away = np.abs((group[0] - start) @ [-way[1], way[0]]).max() / max(length, 1)
    is_straight = len(group) == 1 and away < STRAIGHT * length and length > 0.9 * np.hypot(*_size(group))
    return np.degrees(np.arctan2(*np.abs(way))) if is_straight else -1


def _chance(digits):
    """The chance that this is one digit, where these were read."""
    return digits[0].probabilities.sum() if len(digits) == 1 else 0


def _read(groups, pen, model):
    """The digits in each group of strokes as if it stood alone: a list of lists of Digit, with boxes on the sheet.

    Each group is painted in a cell of its own, with one height and one pen, whatever its size on the sheet.
    """
    found, cells, left, top = [[] for _ in groups], [], BELOW, 0
    for group, digits in zip(groups, found, strict=True):
        if 0 <= _tilt(group) <= SIGN:
            digits.append(_one(model))
        if _tilt(group) >= 0:
            continue
        scale = min((TALL, WIDE) / np.maximum(_size(group)[::-1], 1))
        right = left + round(_size(group)[0] * scale) + APART
        if left > BELOW and right > ROW:
            left, right, top = BELOW, BELOW + right - left, top + TALL + BELOW
        area = np.array([left, top, right, top + TALL + BELOW])
        shift = np.rint(area[:2] + (APART / 2, BELOW / 2)) - _box(group)[:2] * scale
        cells.append((group, digits, scale, shift, area))
        left = right
    for digit in read_drawing(_painted(cells), model).digits if cells else ():
        corners = np.reshape(digit.box, (2, 2))
        x, y = corners.mean(0)
        for _, digits, scale, shift, (start, above, end, below) in cells:
            if start + APART / 4 < x < end - APART / 4 and above <= y < below:
                digit.box = tuple(((corners - shift) / scale).ravel().tolist())
                digits.append(digit)
    for group, digits, *_ in cells:
        if np.divide(*_size(group)) < NARROW:
            digits[:] = sorted(digits, key=lambda digit: -digit.probabilities.sum())[:1]
        likely = LIKELY if len(digits) == 1 else LINKED
        for digit in digits:
            sure = digit.probabilities.sum()
            digit.probabilities *= expit(STEEP * (logit(min(sure, CERTAIN)) - logit(likely))) / sure
        digits[:] = [digit for digit in digits if digit.probabilities.sum() >= LEAST]
    for group, digits in zip(groups, found, strict=True):
        if len(digits) == 1:  # all ink is its own
            box = _box(group) + np.multiply(pen / 2, [-1, -1, 1, 1])
            digits[0].box = tuple(box.clip(0, [*SHEET, *SHEET]).tolist())
    return found


def _painted(cells):
    """A picture of the groups of strokes in their cells, uint8 [height, width, 3], black on white."""
    width, height = np.max([area[2:] for *_, area in cells], 0) + (BELOW, 0)
    image = Image.new("L", (width * SMOOTH, height * SMOOTH), "white")
    draw, radius = ImageDraw.Draw(image), INK * SMOOTH / 2
    for group, _, scale, shift, (left, top, right, bottom) in cells:
        middle = (top + bottom) / 2
        for stroke in [*(stroke * scale + shift for stroke in group), FOUR + (left, middle), FOUR + (right, middle)]:
            draw.line((stroke * SMOOTH).ravel().tolist(), "black", round(2 * radius))
            for x, y in (stroke * SMOOTH).tolist():
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), "black")
    return np.array(image.reduce(SMOOTH).convert("RGB"))


def _one(model):
    """The digit that any straight stroke is; the network is given it upright."""
    bar = np.ones((TALL, INK), np.float32)
    image = mnist_form(bar, bar > 0)
    logits = predict(model, torch.from_numpy(image)[None, None])[0] / TEMPERATURE
    return Digit((0, 0, 0, 0), image, ONE * logits.softmax(0).numpy())


def _without_slashes(digits, leaning):
    """The digits in lines, without straight strokes that lean and stand between two others. leaning: their ids."""
    slashes = set()
    for line in _in_lines(digits):
        for number in line.numbers:
            upright = [i for i, digit in enumerate(number) if id(digit) not in leaning]
            inner = number[upright[0] : upright[-1]] if upright else number
            if upright or (number[0] is not line.digits[0] and number[-1] is not line.digits[-1]):
                slashes |= {id(digit) for digit in inner} & leaning
    return _in_lines([digit for digit in digits if id(digit) not in slashes])


def _in_lines(digits):
    found = Found.at([digit.box for digit in digits], [digit.confidence for digit in digits])
    return [Line([digits[number] for number in line]) for line in in_lines(found)]


def _answer(reading, size, left=0, top=0):
    """The dict for the reading of a part, with its corner at (left, top), of a picture of this width and height."""

    def told(digit):
        box = np.add(digit.box, (left, top, left, top)).tolist()
        answer = {"answer": digit.answer, "confidence": digit.confidence, "unsure": digit.unsure}
        return {"box": box, "image": address_of(digit.image), "probabilities": digit.probabilities.tolist()} | answer

    lines = [
        {"text": line.text, "numbers": [[told(digit) for digit in number] for number in line.numbers]}
        for line in reading.lines
    ]
    return {"width": size[0], "height": size[1], "turned": reading.turned, "lines": lines}
