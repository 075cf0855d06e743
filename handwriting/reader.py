"""A picture, and a function from digits to logits -> what is written on it."""

from dataclasses import dataclass

import numpy as np
import torch

from handwriting.digits import find_digits


@dataclass
class Digit:
    """A digit that was read: where it is on the picture, and what the network saw and said."""

    box: tuple  # top, left, bottom, right: floats, in the picture's pixels
    form: np.ndarray  # uint8 [28, 28], ink bright on black, as MNIST has it
    probabilities: np.ndarray  # float32 [10]

    @property
    def answer(self):
        """The most probable digit, 0 to 9."""
        return int(self.probabilities.argmax())


@dataclass
class Reading:
    """What is written on a picture."""

    lines: list  # of lists of Digit: lines from top to bottom, digits from left to right; empty where there are none
    turned: int = 0  # degrees, clockwise, by which the picture had to be turned to be read: 0, 90, 180 or 270


def read(picture, logits_of):
    """Read a picture, as a Reading.

    picture: uint8 array [height, width, 3], RGB, each side at least 8. logits_of: a function from digits, a uint8
    tensor [N, 1, 28, 28], to their logits, a float tensor [N, 10].
    """
    found = find_digits(picture.mean(axis=2, dtype=np.float32) / 255)
    forms = [form for line in found for _, form in line]
    if not forms:
        return Reading([])
    logits = logits_of(torch.from_numpy(np.stack(forms)).unsqueeze(1))
    probabilities = iter(logits.float().softmax(1).cpu().numpy())
    return Reading([[Digit(box, form, next(probabilities)) for box, form in line] for line in found])
