"""A picture, and a function from digits to logits -> what is written on it.

The conductor: finder.py sees where digits are, lines.py puts them in lines with the forms that forms.py cuts out,
myCNN reads them, and a page that lies at an angle is turned here.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy import ndimage

from handwriting.finder import load_finder, look
from handwriting.forms import mnist_form
from handwriting.lines import find_digits

UNSURE = 0.5  # answers with a lower certainty are marked as unsure
NUMBER_GAP = 0.75  # of the median height of a line's digits: a wide digit, where all are as narrow as a 1
TEMPERATURE = 0.5  # of the logits: undoes the label smoothing; least log loss on 10,000 digits held out of training
FOUND = 2.1  # factor of the finder's logit that makes it a chance: measured on 150 pages of training digits, all kinds
TURNED_SIDE = 300  # pixels: smaller pictures are not tried at other angles
TURNED_PART, TURNED_SIZE = 320, 24  # pixels: of what is tried, the side and its digits' size; it is never enlarged
TURNED_DIGITS = 8  # a page has at least so many digits to be turned
TURNED_SURER = 1.25  # times the upright page's sum of squared certainties: a page is turned that has more
TURNED_UNSURE = 0.9  # mean certainty: a page that is read with more is not tried; upside down, some reach 0.85
ANGLES, FINER = range(0, 360, 30), (-10, 10)  # degrees: tried, and tried around the best one
DRAWN = 0.5, 20  # a drawing's largest scale, for its pen writes no small digits, and what is large there, in pixels
DRAWN_MARGIN = 24  # pixels: around a drawing's ink
STROKE, STROKE_TILT = 3, 15  # a lone stroke so many times as long as wide, within so many degrees of upright, is a 1


@dataclass
class Digit:
    """A digit that was read: where it is on the picture, and what the network saw and said."""

    box: tuple  # top, left, bottom, right: floats, in the picture's pixels
    form: np.ndarray  # uint8 [28, 28], ink bright on black, as MNIST has it
    probabilities: np.ndarray  # float32 [10]: the chance that this is a 0, a 1, ...; together, that it is a digit

    @property
    def answer(self):
        """The most probable digit, 0 to 9."""
        return int(self.probabilities.argmax())

    @property
    def certainty(self):
        """The chance that this is a digit, and the answer."""
        return float(self.probabilities.max())

    @property
    def second(self):
        """The second most probable digit, 0 to 9."""
        return int(self.probabilities.argsort()[-2])

    @property
    def unsure(self):
        """Whether the answer is less than 50 % sure."""
        return self.certainty < UNSURE


@dataclass
class Line:
    """A line of digits, from left to right."""

    digits: list  # of Digit

    @property
    def numbers(self):
        """The line's numbers, a list of lists of Digit: digits further apart than a digit is wide are parted."""
        height = np.median([digit.box[2] - digit.box[0] for digit in self.digits])
        wide = max(NUMBER_GAP * height, *(digit.box[3] - digit.box[1] for digit in self.digits))
        numbers = [[self.digits[0]]]
        for last, digit in zip(self.digits, self.digits[1:], strict=False):
            if digit.box[1] - last.box[3] > wide:
                numbers.append([])
            numbers[-1].append(digit)
        return numbers

    @property
    def text(self):
        """The line's answers, such as "2102", with a space between numbers."""
        return " ".join("".join(str(digit.answer) for digit in number) for number in self.numbers)


@dataclass
class Reading:
    """What is written on a picture."""

    lines: list  # of Line, from top to bottom; empty where there are no digits
    turned: int = 0  # degrees, clockwise, by which the picture had to be turned to be read, 0 to 359

    @property
    def digits(self):
        """All digits, in reading order."""
        return [digit for line in self.lines for digit in line.digits]


@functools.cache
def _finder():
    return load_finder()


def read(picture, logits_of):
    """Read a picture, as a Reading.

    picture: uint8 array [height, width, 3], RGB, each side at least 8. logits_of: a function from digits, a uint8
    tensor [N, 1, 28, 28], to their logits, a float tensor [N, 10].
    """
    if _is_mnists(picture):
        return Reading(_answered([[((0, 0, 28, 28), picture[..., 0], 1.0)]], logits_of))
    reading = _read_upright(picture, logits_of)
    if max(picture.shape) >= TURNED_SIDE and reading.lines and _certainties(reading).mean() < TURNED_UNSURE:
        angle = _angle(picture, reading, logits_of)
        if angle:
            reading = _read_upright(turned(picture, angle), logits_of)
            reading.turned = angle
            for digit in reading.digits:
                digit.box = _turned_back(digit.box, picture.shape, angle)
    return reading


def read_drawing(picture, logits_of):
    """Read what was drawn with the page's pen, upright and on white, as a Reading: as read, but sooner.

    There nothing but digits is expected, so a lone upright stroke is a 1. picture: uint8 array [height, width, 3], RGB,
    where the pen is about 18 pixels wide. logits_of: as read takes it.
    """
    ink = ImageOps.invert(Image.fromarray(picture)).getbbox()
    if not ink:
        return Reading([])
    left, top = (max(0, side - DRAWN_MARGIN) for side in ink[:2])
    right, bottom = (side + DRAWN_MARGIN for side in ink[2:])
    part = np.ascontiguousarray(picture[top:bottom, left:right])
    strokes = _lone_strokes(part)
    found = find_digits(part, look(_finder(), part, *DRAWN), strokes)
    reading = Reading(_answered(found, logits_of))
    for digit in reading.digits:
        digit.box = tuple(np.add(digit.box, (top, left, top, left)))
    return reading


def _lone_strokes(picture):
    """Straight upright strokes that touch nothing else, dark on white: their boxes and forms, a list."""
    ink = 1 - picture.mean(2) / 255
    parts, _ = ndimage.label(ink > 0.5, np.ones((3, 3)))
    strokes = []
    for number, part in enumerate(ndimage.find_objects(parts), 1):
        own = parts[part] == number
        rows, columns = np.nonzero(own)
        if len(rows) < STROKE:
            continue
        spread, axes = np.linalg.eigh(np.cov(rows, columns) + np.eye(2) / 12)  # 1/12: the variance within a pixel
        tilt = np.degrees(np.arctan2(abs(axes[1, 1]), abs(axes[0, 1])))
        if spread[1] > STROKE**2 * spread[0] and tilt <= STROKE_TILT:
            top, left = part[0].start, part[1].start
            box = top, left, part[0].stop, part[1].stop
            strokes.append((box, mnist_form(ink[part] * own, own)))
    return strokes


def _angle(picture, reading, logits_of):
    """The angle, in degrees clockwise, by which a picture has to be turned to be read much more surely, or 0.

    Looked at is a part around the middle digit, so small that its digits can just be read: that does not take long.
    """
    boxes = np.array([digit.box for digit in reading.digits])
    size = np.median((boxes[:, 2:] - boxes[:, :2]).max(1))
    if len(boxes) < TURNED_DIGITS / 2:  # what was found may not be digits at all
        size = max(picture.shape) * TURNED_SIZE / TURNED_PART
    factor = min(1, TURNED_SIZE / size)
    side = int(TURNED_PART / factor)
    middles = np.median(boxes[:, :2], axis=0)
    top, left = (int(np.clip(m - side / 2, 0, max(0, s - side))) for m, s in zip(middles, picture.shape, strict=False))
    part = picture[top : top + side, left : left + side]
    small = [max(8, round(length * factor)) for length in part.shape[1::-1]]
    part = np.array(Image.fromarray(part).resize(small, Image.Resampling.BOX))

    @functools.cache
    def certainties(angle):
        return _certainties(_read_upright(turned(part, angle), logits_of, largest=1.0))

    def score(angle):  # squared, for upside down many digits are read as others, but none as surely
        return (certainties(angle) ** 2).sum()

    best = max(ANGLES[1:], key=score)
    best = max((best, *(best + more for more in FINER)), key=score)
    surer = len(certainties(best)) >= TURNED_DIGITS and score(best) > TURNED_SURER * score(0)
    return best % 360 if surer else 0


def turned(picture, angle):
    """A picture turned by an angle, in degrees clockwise, as large as it needs; what comes in is as the border is."""
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    colour = tuple(int(value) for value in np.median(border, axis=0))
    image = Image.fromarray(picture).rotate(-angle, Image.Resampling.BICUBIC, expand=True, fillcolor=colour)
    return np.array(image)


def _turned_back(box, shape, angle):
    """The box on a picture of a shape, of a box on it as turned by an angle."""
    turn = np.deg2rad(angle)
    height, width = shape[:2]
    cosine, sine = abs(np.cos(turn)), abs(np.sin(turn))
    y = np.array([box[0], box[0], box[2], box[2]]) - (height * cosine + width * sine) / 2
    x = np.array([box[1], box[3], box[1], box[3]]) - (width * cosine + height * sine) / 2
    rows = np.cos(turn) * y - np.sin(turn) * x + height / 2
    columns = np.sin(turn) * y + np.cos(turn) * x + width / 2
    return tuple(float(edge) for edge in (rows.min(), columns.min(), rows.max(), columns.max()))


def _read_upright(picture, logits_of, largest=3.0):
    return Reading(_answered(find_digits(picture, look(_finder(), picture, largest)), logits_of))


def _answered(found, logits_of):
    """Lines of (box, form, sure) as a list of Line."""
    forms = [form for line in found for _, form, _ in line]
    if not forms:
        return []
    digits = torch.from_numpy(np.stack(forms)).unsqueeze(1)
    probabilities = iter((logits_of(digits).float() / TEMPERATURE).softmax(1).cpu().numpy())
    return [Line([Digit(box, form, _chance(sure) * next(probabilities)) for box, form, sure in line]) for line in found]


def _chance(sure):
    """The chance that what the finder is so sure of is a digit."""
    return 1 / (1 + (1 / sure - 1) ** FOUND)


def _certainties(reading):
    return np.array([digit.certainty for digit in reading.digits])


def _is_mnists(picture):
    """Whether a picture has MNIST's form already: 28×28, grey, bright on black, ink of at most 20×20 in the middle."""
    if picture.shape != (28, 28, 3) or np.ptp(picture, axis=2).any() or picture.max() < 80 or np.median(picture) > 0:
        return False
    rows, columns = (np.flatnonzero(picture.any((axis, 2))) for axis in (1, 0))
    centre = np.array(ndimage.center_of_mass(picture[..., 0]))
    return max(np.ptp(rows), np.ptp(columns)) < 20 and abs(centre - 14).max() < 1.5
