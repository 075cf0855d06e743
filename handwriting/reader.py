"""Reads the digits in a picture.

This file runs the others: finder.py finds what may be a digit, judge.py looks again at each, forms.py cuts out the
digits and gives them MNIST's form, lines.py groups them into lines, and myCNN, with the judge's help, classifies them.
If a page lies at an angle, lines.py says at which, and it is turned and read again.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.special import expit, logit

from handwriting import lines
from handwriting.finder import load_finder, look
from handwriting.judge import SIZES, judged, load_judge
from support.device import predict

UNSURE = 0.5  # answers with a lower confidence are marked as unsure
NUMBER_GAP = 0.75  # of a line's median digit height: the minimum gap between numbers, where all digits are narrow
TEMPERATURE = 0.5  # divides the logits: undoes the label smoothing; least log loss on 10,000 held-out digits
JUDGES = 1.5  # weight of the judge's labels beside myCNN's logits: on odd writers, 1 reads 3 digits less, 2 one more
TURNED_SIDE = 300  # pixels: smaller pictures are not tried at other angles
TURNED_UNSURE = 0.94  # mean confidence: if more, a page is not tried at other angles; upside down, 16 had 0.67 to 0.92
DRAWN = 0.5, 0.0, 20  # finder.look's `largest`, `smallest` and `large` for a drawing: it has no small digits
CALIBRATED = 0.5  # logits added to a confidence: least log loss, as with 0.4, on 3,656 answers on made training pages
ALONE = 0.25  # lines.THRESHOLD where only the finder sees digits: a lone stroke looks like a letter to the judge
FEW = 24  # candidates, at all scales: 3 pictures of up to two such digits have at most 17; 9 pages of text, at least 28
ACCEPTED = 0.6  # confidence: if none of a few candidates has more, the finder alone decides


@dataclass
class Digit:
    """A digit that was read: where it is in the picture, what the network was given, and what it answered."""

    box: tuple  # left, top, right, bottom: floats, in the picture's pixels
    image: np.ndarray  # uint8 [28, 28], bright ink on black, as in MNIST
    probabilities: np.ndarray  # float32 [10]: the chance that this is a 0, a 1, ...; the sum: that it is a digit

    @property
    def answer(self):
        """The most probable digit, 0 to 9."""
        return int(self.probabilities.argmax())

    @property
    def confidence(self):
        """The chance that this is a digit and that the answer is right."""
        return float(self.probabilities.max())

    @property
    def second(self):
        """The second most probable digit, 0 to 9."""
        return int(self.probabilities.argsort()[-2])

    @property
    def unsure(self):
        """Whether the confidence is below 50 %."""
        return self.confidence < UNSURE


@dataclass
class Line:
    """A line of digits, from left to right."""

    digits: list  # of Digit

    @property
    def numbers(self):
        """The line's numbers, a list of lists of Digit: a gap wider than a digit starts a new number."""
        height = np.median([digit.box[3] - digit.box[1] for digit in self.digits])
        wide = max(NUMBER_GAP * height, *(digit.box[2] - digit.box[0] for digit in self.digits))
        numbers = [[self.digits[0]]]
        for last, digit in zip(self.digits, self.digits[1:], strict=False):
            if digit.box[0] - last.box[2] > wide:
                numbers.append([])
            numbers[-1].append(digit)
        return numbers

    @property
    def text(self):
        """The line's answers, such as "2102", with a space between numbers."""
        return " ".join("".join(str(digit.answer) for digit in number) for number in self.numbers)


@dataclass
class Reading:
    """What was read in a picture."""

    lines: list  # of Line, from top to bottom; empty where there are no digits
    turned: int = 0  # degrees clockwise, 0 to 359: how far the picture had to be turned to be read

    @property
    def digits(self):
        """All digits, in reading order."""
        return [digit for line in self.lines for digit in line.digits]


@functools.cache
def _networks():
    return load_finder(), load_judge()


def read(picture, model, between=lambda: None):
    """Read a picture. Returns a Reading.

    picture: uint8 array [height, width, 3], RGB, each side at least 8 pixels. model: the myCNN, on the CPU, that
    classifies the digits. between: called between the stages; it may raise, to end a reading that nobody waits for.
    """
    return _surer(_read(picture, model, between), CALIBRATED)


def _surer(reading, more):
    """The same Reading, surer that each is a digit by `more`, in logits."""
    for digit in reading.digits:
        sure = min(digit.probabilities.sum(), 1)
        digit.probabilities *= expit(logit(sure) + more) / sure
    return reading


def _read(picture, model, between):
    if _is_mnists(picture):
        return Reading(_answered([[((0, 0, 28, 28), picture[..., 0], 1.0, np.zeros(10))]], model))
    reading = _read_upright(picture, model, between)
    if max(picture.shape) < TURNED_SIDE or not reading.lines:
        return reading
    if len(reading.digits) >= lines.TURNED_DIGITS / 2 and _confidences(reading).mean() > TURNED_UNSURE:
        return reading
    boxes = [digit.box for digit in reading.digits]
    angle = lines.best_angle(picture, boxes, lambda *crop: _judged(*crop, again=(), between=between)[1])
    if not angle:
        return reading
    other = _read_upright(lines.turned(picture, angle), model, between)
    if len(other.digits) < lines.TURNED_DIGITS or _score(other) < lines.TURNED_SURER * _score(reading):
        return reading
    other.turned = angle
    for digit in other.digits:
        digit.box = lines.turned_back(digit.box, picture.shape, angle)
    return other


def read_drawing(picture, model):
    """Read a picture of what was drawn on the page, upright, black on white: like read, but faster. Returns a Reading.

    Its confidences are lower than read's: there are only drawings to compare them with, as answers.py does. picture:
    uint8 array [height, width, 3], RGB, with digits about 60 pixels high. model: as for read.
    """
    return Reading(_answered(_found(picture, *DRAWN, is_drawing=True), model))


def _read_upright(picture, model, between):
    return Reading(_answered(_found(picture, between=between), model))


def _judged(picture, *sizes, again=SIZES, between=lambda: None):
    """What the finder saw, and the candidates: as the judge sees them, and the finder's confidence in each."""
    finder, judge = _networks()
    between()
    looks = look(finder, picture, *sizes)
    between()
    found = lines.candidates(picture.shape, looks)
    finders = found.sure
    found.sure, found.labels = judged(judge, looks, found, again)
    return looks, found, finders


def _found(picture, *sizes, is_drawing=False, between=lambda: None):
    """The digits in a picture, as find_digits returns them. sizes: finder.look's `largest`, `smallest` and `large`."""
    looks, found, finders = _judged(picture, *sizes, between=between)
    between()
    if not is_drawing:
        found.sure = lines.among_text(found)
    # Most pictures have a digit, and where there is text there are more candidates.
    is_lone = not is_drawing and len(found) <= FEW and not (found.sure > ACCEPTED).any()
    if is_lone:
        found.sure = finders
    for seen in looks:
        if is_drawing:  # where its ink is, is known
            seen.maps[1] = F.avg_pool2d(1 - seen.pixels.mean(0, keepdim=True), 2)[0]
        elif is_lone:
            seen.maps[1] /= seen.maps[1].max()
    return lines.find_digits(picture, looks, found, ALONE if is_lone else lines.THRESHOLD)


def _answered(found, model):
    """Classify the digits in lines, as find_digits returns them. Returns a list of Line.

    The logits of myCNN and the judge's labels are added, as evidence from two sources: MNIST has few of the ones with a
    long upstroke that many people write, and myCNN alone takes them for sevens.
    """
    forms = [form for line in found for _, form, _, _ in line]
    if not forms:
        return []
    digits = torch.from_numpy(np.stack(forms)).unsqueeze(1)
    labels = torch.from_numpy(np.stack([labels for line in found for *_, labels in line]))
    logits = predict(model, digits) / TEMPERATURE + JUDGES * labels.float()
    probabilities = iter(logits.softmax(1).numpy())
    return [Line([Digit(box, form, sure * next(probabilities)) for box, form, sure, _ in line]) for line in found]


def _score(reading):
    """How well a page is read, to be compared with the same page turned."""
    # Cubed, for upside down many digits are read as others, but none as surely; squared, a page of print was turned.
    return (_confidences(reading) ** 3).sum()


def _confidences(reading):
    return np.array([digit.confidence for digit in reading.digits])


def _is_mnists(picture):
    """Whether a picture already has MNIST's form: 28×28, grey, bright on black, at most 20×20 of ink in the middle."""
    if picture.shape != (28, 28, 3) or np.ptp(picture, axis=2).any() or picture.max() < 80 or np.median(picture) > 0:
        return False
    rows, columns = (np.flatnonzero(picture.any((axis, 2))) for axis in (1, 0))
    centre = np.array(ndimage.center_of_mass(picture[..., 0]))
    return max(np.ptp(rows), np.ptp(columns)) < 20 and abs(centre - 14).max() < 1.5
