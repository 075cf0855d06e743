"""What made pages are drawn from: digits, fonts, letters. Some are held out, and no training learns from them."""

import functools
import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from support.errors import UserError
from support.files import DATA_DIR, unpack_mnist

HERE = Path(__file__).parent
FONTS, DRAWN = HERE / "node_modules" / "@fontsource", HERE / "omniglot"
PEN_DIGITS = HERE / "pendigits-orig.tra.gz"  # Alpaydin and Alimoglu, 1998: UCI repository, CC BY 4.0
HELD_OUT_DIGITS = 5_000  # of MNIST's training digits, the last
HELD_OUT_FONTS = 10  # one in so many, of either kind
HELD_OUT_WRITERS = 3  # of the 30 who wrote the pen digits, the last
HELD_OUT_PEOPLE = ("19", "20")  # of the 20 who drew each of Omniglot's alphabets


@dataclass
class Source:
    """What the digits and the text of made pages are drawn from."""

    images: np.ndarray  # MNIST's digits, uint8 [N, 28, 28]
    labels: np.ndarray  # int [N]
    writers: list  # of pen digits: of each writer, a list of (label, strokes), strokes as pens.written takes them
    printed: list  # paths of fonts
    hand: list  # paths of handwritten fonts
    latin: list  # of letters, 105×105, black on white: for each person, a list of paths from a to z
    drawn: list  # of other letters: a list of paths for each person and alphabet

    def __post_init__(self):
        self.by_label = [np.flatnonzero(self.labels == label) for label in range(10)]


def training_source():
    """The Source that the detector learns from. Raises UserError where fonts or drawn letters are missing."""
    return _source(held_out=False)


def held_out_source():
    """The Source that it never learns from. Raises UserError where fonts or drawn letters are missing."""
    return _source(held_out=True)


def _source(held_out):
    from torchvision.datasets import MNIST  # here, because it takes a second

    unpack_mnist(DATA_DIR)
    mnist = MNIST(DATA_DIR)
    images, labels = mnist.data.numpy(), mnist.targets.numpy()
    part = slice(-HELD_OUT_DIGITS, None) if held_out else slice(-HELD_OUT_DIGITS)
    writers = pen_writers()
    writers = writers[-HELD_OUT_WRITERS:] if held_out else writers[:-HELD_OUT_WRITERS]
    fonts = {True: [], False: []}
    for folder in sorted(FONTS.iterdir()) if FONTS.is_dir() else ():
        is_handwriting = json.loads((folder / "metadata.json").read_text())["category"] == "handwriting"
        fonts[is_handwriting].append(folder / "files" / f"{folder.name}-latin-400-normal.woff")
    if not all(fonts.values()):
        raise UserError(f"the fonts for the training are missing: run npm install in {HERE}")
    hand, printed = (
        [path for number, path in enumerate(fonts[kind]) if (number % HELD_OUT_FONTS == 0) == held_out]
        for kind in (True, False)
    )
    people = {}
    for path in sorted(DRAWN.glob("**/character*/*.png")):
        alphabet, person = path.parent.parent.name, path.stem[-2:]
        if (person in HELD_OUT_PEOPLE) == held_out:  # two of Omniglot's parts have the same Latin and Greek letters
            people.setdefault((alphabet, person), {})[path.name] = path
    if not people:
        raise UserError(f"the drawn letters are missing: unpack Omniglot's images_background_small1.zip in {DRAWN}")
    latin, drawn = (
        [list(paths.values()) for (alphabet, _), paths in people.items() if (alphabet == "Latin") == is_latin]
        for is_latin in (True, False)
    )
    return Source(images[part], labels[part], writers, printed, hand, latin, drawn)


@functools.cache
def pen_writers():
    """The 30 writers of the pen digits' training file: of each, a list of (label, strokes).

    A stroke is float32 [points, 2], x to the right and y down; a digit is 1 high, or as wide where it is lying.
    """
    writers, strokes = {}, []
    for line in gzip.decompress(PEN_DIGITS.read_bytes()).decode("latin1").splitlines():
        if match := re.match(r"\.COMMENT (\d) +(\d+)", line):
            strokes = []
            writers.setdefault(int(match[2]), []).append((int(match[1]), strokes))
        elif line.startswith(".PEN_DOWN"):
            strokes.append([])
        elif strokes and (match := re.match(r"\s*(-?\d+)\s+(-?\d+)\s*$", line)):
            strokes[-1].append((int(match[1]), -int(match[2])))
    return [[(label, _normalised(digit)) for label, digit in writers[who]] for who in sorted(writers)]


def _normalised(strokes):
    """Strokes from 0 on, 1 high or, where they lie, as wide."""
    strokes = [np.float32(stroke) for stroke in strokes if stroke]
    points = np.concatenate(strokes)
    low, size = points.min(0), np.ptp(points, axis=0)
    return [(stroke - low) / max(size[1], 0.7 * size[0], 1) for stroke in strokes]
