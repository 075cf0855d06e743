"""A picture, and a function from digits to logits -> what is written on it."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy import ndimage

from handwriting.finder import load_finder, look
from handwriting.lines import find_digits

TURNED_SIDE = 300  # pixels: smaller pictures are not tried the other ways up
TURNED_PART, TURNED_SIZE = 512, 24  # pixels: of what is, which over 500 is not enlarged to look at; of its digits
TURNED_DIGITS, TURNED_SURER = 8, 1.05  # a page is turned for so many digits, so much surer,
TURNED_SURE = 0.3  # most of them at least so sure
UNSURE, SURE = 0.2, 0.43  # upright, digits less sure are always tried the other ways up, digits as sure never,
FORMS, FORMS_SURE = 64, 0.9  # those between where so many of their forms, turned, have so much of their certainty
DRAWN = 0.5, 20  # a drawing's largest scale, for its pen writes no small digits, and what is large there, in pixels
DRAWN_MARGIN = 24  # pixels: around a drawing's ink
UNSURE_BELOW = 0.5  # answers with a lower certainty are marked as unsure
NUMBER_GAP = 0.75  # of the median height of a line's digits: a wider gap parts two numbers


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
        return self.certainty < UNSURE_BELOW


@dataclass
class Line:
    """A line of digits, from left to right."""

    digits: list  # of Digit

    @property
    def numbers(self):
        """The line's numbers, a list of lists of Digit: digits further apart than a digit is wide are parted."""
        heights = [digit.box[2] - digit.box[0] for digit in self.digits]
        wide = NUMBER_GAP * np.median(heights)
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
        found = [[((0, 0, 28, 28), picture[..., 0], 1.0)]]
        return Reading(_answered(found, logits_of)[0])
    lines, sure = _read_upright(picture, logits_of)
    turns = 0
    if max(picture.shape) >= TURNED_SIDE and len(sure) and _may_be_turned(lines, sure, logits_of):
        turns = _turns(picture, lines, logits_of)
    if turns:
        lines, _ = _read_upright(np.ascontiguousarray(np.rot90(picture, -turns)), logits_of)
    height, width = picture.shape[:2]
    for digit in (digit for line in lines for digit in line.digits):
        for quarter in range(turns, 0, -1):
            top, left, bottom, right = digit.box
            side = height if quarter % 2 else width
            digit.box = side - right, top, side - left, bottom
    return Reading(lines, 90 * turns)


def read_drawing(picture, logits_of):
    """Read what was drawn with the page's pen, upright and on white, as a Reading: as read, but sooner.

    picture: uint8 array [height, width, 3], RGB, where the pen is about 18 pixels wide. logits_of: as read takes it.
    """
    ink = ImageOps.invert(Image.fromarray(picture)).getbbox()
    if not ink:
        return Reading([])
    left, top = (max(0, side - DRAWN_MARGIN) for side in ink[:2])
    right, bottom = (side + DRAWN_MARGIN for side in ink[2:])
    part = np.ascontiguousarray(picture[top:bottom, left:right])
    lines, _ = _answered(find_digits(part, look(_finder(), part, *DRAWN)), logits_of)
    for digit in (digit for line in lines for digit in line.digits):
        digit.box = tuple(np.add(digit.box, (top, left, top, left)))
    return Reading(lines)


def _may_be_turned(lines, sure, logits_of):
    """Whether a page is unsure, and its digits' forms, turned by themselves, are read about as surely as they stand."""
    if not UNSURE < sure.mean() < SURE:
        return sure.mean() <= UNSURE
    digits = [digit for line in lines for digit in line.digits]
    digits = digits[:: -(-len(digits) // FORMS)]
    forms = np.stack([digit.form for digit in digits])
    upright = _sure(np.stack([digit.probabilities for digit in digits])).mean()
    turned = (_sure(_probabilities(np.rot90(forms, -q, axes=(1, 2)), logits_of)).mean() for q in (1, 2, 3))
    return max(turned) > FORMS_SURE * upright


def _turns(picture, lines, logits_of):
    """By how many quarter turns, clockwise, a picture is read with much more certainty than upright, as lines were.

    Looked at is a part around the middle digit, so small that its digits can just be read: that does not take long.
    """
    boxes = np.array([digit.box for line in lines for digit in line.digits])
    digits_size = np.median((boxes[:, 2:] - boxes[:, :2]).max(1))
    if len(boxes) < TURNED_DIGITS / 2:  # what was found may not be digits at all
        digits_size = max(picture.shape) * TURNED_SIZE / TURNED_PART
    factor = min(1, TURNED_SIZE / digits_size)
    side = int(TURNED_PART / factor)
    middles = np.median(boxes[:, :2], axis=0)
    top, left = (int(np.clip(m - side / 2, 0, max(0, s - side))) for m, s in zip(middles, picture.shape, strict=False))
    part = picture[top : top + side, left : left + side]
    size = [max(8, round(side * factor)) for side in part.shape[1::-1]]
    small = np.array(Image.fromarray(part).resize(size, Image.Resampling.BOX))
    turns, best = 0, None
    for quarter in range(4):
        _, sure = _read_upright(np.ascontiguousarray(np.rot90(small, -quarter)), logits_of)
        if best is None:
            best = TURNED_SURER * sure.sum()
        elif len(sure) >= TURNED_DIGITS and np.median(sure) > TURNED_SURE and sure.sum() > best:
            turns, best = quarter, sure.sum()
    return turns


def _read_upright(picture, logits_of):
    return _answered(find_digits(picture, look(_finder(), picture)), logits_of)


def _answered(found, logits_of):
    """Lines of (box, form, sure) as lines of Digit, and how sure finder and network are of each, float [N]."""
    forms = [form for line in found for _, form, _ in line]
    if not forms:
        return [], np.zeros(0)
    probabilities = _probabilities(np.stack(forms), logits_of)
    each = iter(probabilities)
    lines = [Line([Digit(box, form, next(each)) for box, form, _ in line]) for line in found]
    sure = np.array([sure for line in found for _, _, sure in line])
    return lines, sure * _sure(probabilities)


def _probabilities(forms, logits_of):
    return logits_of(torch.from_numpy(np.ascontiguousarray(forms)).unsqueeze(1)).float().softmax(1).cpu().numpy()


def _sure(probabilities):
    """How sure the network is of each digit: upside down, they are found as surely but not read as surely."""
    return probabilities.max(1) ** 6


def _is_mnists(picture):
    """Whether a picture has MNIST's form already: 28×28, grey, bright on black, ink of at most 20×20 in the middle."""
    if picture.shape != (28, 28, 3) or np.ptp(picture, axis=2).any() or picture.max() < 80 or np.median(picture) > 0:
        return False
    rows, columns = (np.flatnonzero(picture.any((axis, 2))) for axis in (1, 0))
    centre = np.array(ndimage.center_of_mass(picture[..., 0]))
    return max(np.ptp(rows), np.ptp(columns)) < 20 and abs(centre - 14).max() < 1.5
