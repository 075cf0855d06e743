"""How well handwriting is read: python benchmarks/handwriting.py [FOLDER]

Without FOLDER it makes pages from MNIST's test digits, on which neither the finder nor myCNN was trained, with one
difficulty each; the seeds are fixed. FOLDER has labelled pictures: images/, and labels.csv with the columns file,
digits (lines separated by "/"), kind and writer; writers with odd and with even numbers are also scored apart. The
network in checkpoints/small reads them. Prints Markdown tables: how much is read, and how confidently.
"""

import csv
import sys
import time
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
import train
from handwriting import SMALL
from handwriting.lines import turned
from handwriting.photo import load_photo
from handwriting.reader import read
from handwriting.training.pages import make_page
from handwriting.training.sources import HELD_OUT_WRITERS, Source, pen_writers
from Model import load_parameters
from support.device import CPU, device_name, tune_cpu
from support.runs import last_epoch

PAGES = 12  # per row
SHAPE, HEIGHT = (480, 640), 30  # pixels: of a page, and of its digits, unless a row says otherwise
PAPER = {"coloured": 0.5, "gradient": 0.5, "noise": 0.5}
ROWS = {  # what the pages of each row have: kinds of handwriting/training/pages.py, and what make_page takes
    "clean": ({"drawn": 1}, {}),
    "paper, slight slopes": (PAPER, {}),
    "pen of 1 pixel": (PAPER, {"pen": ("line", 1)}),
    "hundreds of small digits": (PAPER, {"height": 16, "shape": (900, 1200)}),
    "shadow": ({"shadow": 1, "gradient": 1}, {}),
    "sheet on a table": (PAPER | {"table": 1, "yellow": 0.3}, {}),
    "ruled paper": (PAPER | {"ruled": 1}, {}),
    "squared paper": (PAPER | {"squared": 1}, {}),
    "boxes": (PAPER | {"boxes": 1}, {}),
    "pencil": ({"faint": 1, "noise": 1}, {}),
    "blurred": ({"blur": 1}, {}),
    "noise, JPEG": ({"noise": 1, "jpeg": 1, "coarse": 0.5}, {}),
    "binarised": ({"binarised": 1, "gradient": 1}, {}),
    "broken strokes": (PAPER | {"breaks": 1}, {}),
    "touching digits": (PAPER | {"touching": 1}, {}),
    "specks, hyphens, ticks": (PAPER | {"specks": 1}, {}),
    "scribbles": (PAPER | {"scribbles": 1}, {}),
    "rows cut off at the edge": (PAPER | {"cut off": 1}, {}),
    "light on dark": (PAPER | {"chalk": 1}, {}),
    "turned by 90, 180 or 270 degrees": (PAPER, {}),
    "turned by any angle": (PAPER, {}),
    "pictures of a few digits": ({"small": 1, "coarse": 0.3}, {}),
    "uneven sizes": (PAPER | {"uneven": 1}, {}),
    "many a bare 1": (PAPER | {"ones": 1}, {}),
    "1 with an upstroke, crossed 7": (PAPER | {"ones": 1, "continental": 1}, {}),
    "digits of a font": (PAPER | {"fonts": 1}, {}),
    "words by hand, here and there": (PAPER | {"letters": 1}, {}),
    "words in the rows of digits": (PAPER | {"beside": 1}, {}),
    "lines by hand": (PAPER | {"prose": 1}, {}),
    "printed lines": (PAPER | {"printed": 1}, {}),
    "signs": (PAPER | {"signs": 1}, {}),
    "printed boxes, arrows, dice": (PAPER | {"shapes": 1}, {}),
    "tables": (PAPER | {"tabular": 1}, {}),
}
SAID = (0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.001)  # edges of the bins of confidence


def source(images, labels):
    """A Source of digits, uint8 [N, 28, 28] and int [N], pen digits, and fonts that pip installs."""
    printed = sorted(Path(matplotlib.get_data_path()).glob("fonts/ttf/DejaVuS*[!y].ttf"))  # …Display has no digits
    hand = [path for name in ("font_amatic_sc", "font_intuitive") for path in files(name).glob("files/*.ttf")]
    return Source(images, labels, pen_writers()[-HELD_OUT_WRITERS:], printed, sorted(hand), [], [])


def pages_of(row, images, labels, count=PAGES, seed=1):
    """Make `count` pages of a row from uint8 images [N, 28, 28] and int labels [N]: (photo, its lines of digits)."""
    kinds, options = ROWS[row]
    options = {"kinds": kinds, "shape": SHAPE, "height": HEIGHT} | options
    drawn_from = source(images, labels)
    for number in range(count):
        rng = np.random.default_rng([seed, list(ROWS).index(row), number])
        page = make_page(rng, drawn_from, **options)
        lines = {}
        for digit in sorted(page.digits, key=lambda digit: digit.box[0]):
            if digit.seen > 0.9 and not digit.printed:
                lines.setdefault(digit.row, []).append(str(digit.label))
        photo = page.photo
        if row.startswith("turned by 90"):
            photo = np.rot90(photo, 1 + number % 3)
        elif row.startswith("turned"):
            photo = turned(photo, rng.integers(0, 360))
        yield np.ascontiguousarray(photo), ["".join(lines[row]) for row in sorted(lines)]


def compared(written, text):
    """Two texts' Levenshtein distance (how many characters must be changed, deleted or inserted to turn one into the
    other), and which characters of the second are right in that alignment, a list of bools.
    """
    rows = [list(range(len(text) + 1))]
    for number, one in enumerate(written, 1):
        row = [number]
        for column, other in enumerate(text, 1):
            row.append(min(rows[-1][column] + 1, row[-1] + 1, rows[-1][column - 1] + (one != other)))
        rows.append(row)
    right, at, column = [False] * len(text), len(written), len(text)
    while at and column:
        if rows[at][column] == rows[at - 1][column - 1] + (written[at - 1] != text[column - 1]):
            at, column = at - 1, column - 1
            right[column] = written[at] == text[column]
        elif rows[at][column] == rows[at - 1][column] + 1:
            at -= 1
        else:
            column -= 1
    return rows[-1][-1], right


@dataclass
class Score:
    """How well some pictures were read."""

    digits: int = 0
    wrong: int = 0
    in_common: int = 0  # digits that were written and read
    pictures: int = 0
    whole: int = 0
    seconds: float = 0
    said: list = field(default_factory=list)  # the confidence of each digit read
    true: list = field(default_factory=list)  # and whether it is right

    def add(self, reading, seconds, written):
        """Add a Reading, and how long it took, of a picture on which lines of digits are written, a list of texts."""
        lines = [line.text.replace(" ", "") for line in reading.lines]
        text = "".join(written)
        wrong, right = compared(text, "".join(lines))
        self.seconds += seconds
        self.digits += len(text)
        self.wrong += min(wrong, len(text))
        self.in_common += sum(right)
        self.pictures += 1
        self.whole += lines == written
        self.said += [digit.confidence for digit in reading.digits]
        self.true += right

    def __str__(self):
        shares = (1 - self.wrong / self.digits, self.in_common / self.digits, self.in_common / max(1, len(self.said)))
        shares = " | ".join(f"{100 * share:.1f}" for share in shares)
        return f"{self.digits} | {shares} | {self.whole} of {self.pictures} | {self.seconds / self.pictures * 1000:.0f}"


def measure(pictures, model):
    """Read pictures, (part names, picture, the lines written on it) each: a dict of the parts' Scores."""
    scores = {}
    for parts, picture, written in pictures:
        start = time.perf_counter()
        reading = read(picture, model)
        seconds = time.perf_counter() - start
        for part in parts:
            scores.setdefault(part, Score()).add(reading, seconds, written)
    return scores


def print_said(score, name):
    """Print, for each bin of confidence, how many of the digits in it are right."""
    said, true = np.array(score.said), np.array(score.true)
    for low, high in pairwise(SAID):
        among = (said >= low) & (said < high)
        if among.any():
            edges = f"{low:.0%} to {min(high, 1):.0%}"
            print(f"| {name} | {edges} | {among.sum()} | {said[among].mean():.1%} | {true[among].mean():.1%} |")


def pictures_in(folder):
    """The labelled pictures of a folder, as measure takes them."""
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            kind = "with text" if "text" in row["kind"] else "with signs" if "math" in row["kind"] else "digits alone"
            half = "odd" if int(row["writer"]) % 2 else "even"
            parts = "all", kind, f"{kind}, {half} writers", f"all, {half} writers"
            yield parts, load_photo(folder / "images" / row["file"], row["file"]), row["digits"].split("/")


def main():
    """Print the tables."""
    tune_cpu()
    folder = Path(sys.argv[1]) if sys.argv[1:] else None
    model = load_parameters(last_epoch(SMALL)[1])
    if folder:
        pictures = pictures_in(folder)
    else:
        images, labels = (part.numpy() for part in train.load_mnist(train=False, device=CPU))
        pictures = (((row, "all"), *page) for row in ROWS for page in pages_of(row, images[:, 0], labels))
    scores = measure(pictures, model)
    print(f"read on {device_name(CPU)}\n")
    print("| pictures | digits | right, % | recall, % | precision, % | wholly right | ms |\n" + "| --- " * 7 + "|")
    for name, score in scores.items():
        print(f"| {name} | {score} |", flush=True)
    print("\n| pictures | said | digits | said, mean | true |\n" + "| --- " * 5 + "|")
    print_said(scores["all"], folder.name if folder else "made pages")


if __name__ == "__main__":
    main()
