"""Reads the digits in a picture.

A picture goes one way: detector.py finds what may be a digit and says what it is, ink.py cuts the digits' ink out in
MNIST's form, myCNN classifies it, with the detector's evidence beside it, and lines.py groups the digits into lines.
If the detector sees that a page lies at an angle, it is turned first.
"""

import functools
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from scipy.special import expit, softmax

from handwriting.detector import ANGLES, detect, detections, load_detector, look_again
from handwriting.ink import ink_of
from handwriting.lines import in_lines
from support.device import predict

UNSURE = 0.7  # answers with a lower confidence are marked as unsure: a choice
NUMBER_GAP = 0.75  # of a line's median digit height: the minimum gap between numbers, where all digits are narrow
PRINTED = 2.0  # a number is printed if that is so much more likely, as the logarithm of a factor: what is written and
# is taken for printed is lost
LYING = 20  # degrees: a page that lies less is read as it lies, for digits are learnt at up to this angle
AGREED = 4.0  # a page is turned if its digits are so much more likely at that angle, as the logarithm of a factor


@dataclass
class Digit:
    """A digit that was read: where it is in the picture, what the network was given, and what it answered."""

    box: tuple  # left, top, right, bottom: floats, in the picture's pixels
    image: np.ndarray  # uint8 [28, 28], bright ink on black, as in MNIST
    probabilities: np.ndarray  # float [10]: the chance that this is a 0, a 1, ...; the sum: that it is a digit
    printed: bool = False  # or written by hand

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
        """Whether the confidence is below 70 %."""
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
    """What was read in a picture: lists of Line, each from top to bottom."""

    written: list  # by hand
    printed: list = field(default_factory=list)
    turned: int = 0  # degrees clockwise, 0 to 359: how far the picture had to be turned to be read

    @property
    def lines(self):
        """The answer: what is written; where nothing is, what is printed."""
        return self.written or self.printed

    @property
    def digits(self):
        """All digits of the answer, in reading order."""
        return [digit for line in self.lines for digit in line.digits]

    @property
    def everything(self):
        """All digits, the written ones first."""
        return [digit for line in self.written + self.printed for digit in line.digits]


@functools.cache
def _detector():
    return load_detector()


def read(picture, model, largest=3.0, least=0.5, between=lambda: None):
    """Read a picture. Returns a Reading.

    picture: uint8 array [height, width, 3], RGB, each side at least 8 pixels. model: the myCNN, on the CPU, that
    classifies the digits. largest: the scale up to which the detector looks at the picture. least: the chance that it
    is a digit from which something is read. between: called between the stages; it may raise, to end it.
    """
    detector = _detector()
    if _is_mnists(picture):
        image = picture[..., 0]
        return Reading([Line([Digit((0.0, 0.0, 28.0, 28.0), image, probabilities_of(model, image[None])[0])])])
    seen = _seen(detector, picture, largest, between)
    angle = angle_of(detector, *seen[1:])
    if angle:
        seen = _seen(detector, turned(picture, -angle), largest, between)
    between()
    digits = _digits(detections(detector, *seen, least), model)
    for digit in digits if angle else ():
        digit.box = turned_back(digit.box, picture.shape, -angle)
    return Reading(*(_lines([d for d in digits if d.printed == kind]) for kind in (False, True)), -angle % 360)


def _seen(detector, picture, largest, between):
    """What both stages say of a picture: Looks, Candidates and the Opinion of them."""
    between()
    looks, found = detect(detector, picture, largest)
    between()
    return looks, found, look_again(detector, looks, found)


def _digits(detected, model):
    """The Digits among Detections that have ink."""
    found = [(detection, *own) for detection in detected if (own := ink_of(detection))]
    if not found:
        return []
    kinds = np.logaddexp.reduce(np.stack([d.labels for d, _, _ in found]).reshape(-1, 2, 10), axis=2)
    labels = np.stack([np.logaddexp(*d.labels.reshape(2, 10)) for d, _, _ in found])
    probabilities = probabilities_of(model, np.stack([image for _, _, image in found]), labels)
    digits = [Digit(box, image, d.sure * p) for (d, box, image), p in zip(found, probabilities, strict=True)]
    odds = {id(digit): odds for digit, odds in zip(digits, kinds[:, 1] - kinds[:, 0], strict=True)}
    for line in _lines(digits):
        for number in line.numbers:  # is of one kind
            is_printed = bool(np.mean([odds[id(digit)] for digit in number]) > PRINTED)
            for digit in number:
                digit.printed = is_printed
    return digits


def probabilities_of(model, images, labels=0):
    """What a myCNN takes images for, uint8 [N, 28, 28]: probabilities, float [N, 10].

    labels: what the detector took them for, log probabilities [N, 10], which are added to myCNN's logits, as evidence
    from another source.
    """
    temperature, weight = _detector().calibration[3:].tolist()
    logits = predict(model, torch.from_numpy(images).unsqueeze(1)).numpy()
    return softmax(logits / temperature + weight * labels, axis=1)


def _lines(digits):
    return [Line([digits[number] for number in line]) for line in in_lines([digit.box for digit in digits])]


def angle_of(detector, found, opinion):
    """The angle at which a page's Candidates lie, in degrees clockwise; 0 if they don't agree that it is turned."""
    sure = expit(found.heat)  # the second stage knows digits that are upright
    kept = found.apart(sure)
    often = detector.lying.numpy()
    evidence = sure[kept] @ (opinion.angles[kept] - often) + often
    best = int(evidence.argmax())
    near = np.arange(best - 1, best + 2)
    shares = softmax(evidence[near % ANGLES] / max(1, sure[kept].sum()))  # of the digits' mean
    angle = round(360 / ANGLES * float(near @ shares)) % 360
    is_turned = evidence[best] - evidence[0] > AGREED and LYING < angle < 360 - LYING
    return angle if is_turned else 0


def turned(picture, angle):
    """A picture turned by an angle, in degrees clockwise, enlarged to fit; corners get its border's colour."""
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    colour = tuple(int(value) for value in np.median(border, axis=0))
    return np.array(Image.fromarray(picture).rotate(-angle, Image.Resampling.BICUBIC, True, fillcolor=colour))


def turned_back(box, shape, angle):
    """A box in a turned picture -> the box in the original, which has this shape and was turned by this angle."""
    turn, size = np.deg2rad(angle), np.array(shape[1::-1])
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    left, top, right, bottom = box
    corners = np.array([(left, top), (right, top), (left, bottom), (right, bottom)]) - np.abs(rotation) @ size / 2
    points = corners @ rotation.T + size / 2
    return *points.min(0).tolist(), *points.max(0).tolist()


def _is_mnists(picture):
    """Whether a picture already has MNIST's form: 28×28, grey, bright on black, at most 20×20 of ink in the middle."""
    if picture.shape != (28, 28, 3) or np.ptp(picture, axis=2).any() or picture.max() < 80 or np.median(picture) > 0:
        return False
    rows, columns = (np.flatnonzero(picture.any((axis, 2))) for axis in (1, 0))
    centre = np.array(ndimage.center_of_mass(picture[..., 0]))
    return max(np.ptp(rows), np.ptp(columns)) < 20 and abs(centre - 14).max() < 1.5
