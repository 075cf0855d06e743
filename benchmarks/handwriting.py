"""How well pages of handwriting are read, kind by kind: python benchmarks/handwriting.py [RUN]

Makes pages of MNIST's test digits, which neither the finder nor myCNN has learnt from, with one difficulty each, reads
them with a run's best epoch (without RUN: that of checkpoints/small), and prints a Markdown table. The seeds are fixed.
"""

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
import train
from handwriting.reader import read
from handwriting.training.pages import make_page
from Model import load_parameters
from support import device as devices
from support.predicting import predict
from support.runs import best_epoch

PAGES = 12  # of each row
SHAPE, HEIGHT = (480, 640), 30  # pixels: of a page, and of its digits, where a row does not say otherwise
PAPER = {"coloured": 0.5, "gradient": 0.5, "noise": 0.5}
ROWS = {  # what the pages of each row have: kinds of handwriting/pages.py, and what make_page takes
    "clean": ({"drawn": 1}, {}),
    "paper, slight slopes": (PAPER, {}),
    "pen of 1 pixel": (PAPER, {"pen": ("line", 1)}),
    "pen of 3 pixels": (PAPER, {"pen": ("line", 3)}),
    "hundreds of small digits": (PAPER, {"height": 16, "shape": (900, 1200)}),
    "gradient, vignette": ({"gradient": 1, "vignette": 1}, {}),
    "shadow": ({"shadow": 1, "gradient": 1}, {}),
    "glare": ({"glare": 1}, {}),
    "sheet on a table": (PAPER | {"table": 1, "yellow": 0.3}, {}),
    "ruled paper": (PAPER | {"ruled": 1}, {}),
    "squared paper": (PAPER | {"squared": 1}, {}),
    "dotted paper": (PAPER | {"dotted": 1}, {}),
    "boxes": (PAPER | {"boxes": 1}, {}),
    "coloured pens": ({"coloured": 1}, {}),
    "pencil": ({"faint": 1, "noise": 1}, {}),
    "blurred": ({"blur": 1}, {}),
    "noise, JPEG": ({"noise": 1, "jpeg": 1, "coarse": 0.5}, {}),
    "binarised": ({"binarised": 1, "gradient": 1}, {}),
    "broken strokes": (PAPER | {"breaks": 1}, {}),
    "touching digits": (PAPER | {"touching": 1}, {}),
    "specks, hyphens, ticks": (PAPER | {"specks": 1}, {}),
    "scribbles": (PAPER | {"scribbles": 1}, {}),
    "letters": (PAPER | {"letters": 1}, {}),
    "rows cut off at the edge": (PAPER | {"cut off": 1}, {}),
    "light on dark": (PAPER | {"chalk": 1}, {}),
    "turned by 90 or 180 degrees": (PAPER, {}),
    "pictures of a few digits": ({"small": 1, "coarse": 0.3}, {}),
    "rough paper": (PAPER | {"rough": 1}, {}),
}


def pages_of(row, images, labels, count=PAGES, seed=1):
    """So many pages of a row, of uint8 images [N, 28, 28] and int labels [N]: (photo, the lines that stand on it)."""
    kinds, options = ROWS[row]
    for number in range(count):
        rng = np.random.default_rng([seed, list(ROWS).index(row), number])
        page = make_page(rng, images, labels, **{"kinds": kinds, "shape": SHAPE, "height": HEIGHT} | options)
        lines = {}
        for digit in sorted(page.digits, key=lambda digit: digit.box[1]):
            if digit.seen > 0.9:
                lines.setdefault(digit.row, []).append(str(digit.label))
        photo = page.photo
        if row.startswith("turned"):
            photo = np.rot90(photo, 1 + number % 3)
        yield np.ascontiguousarray(photo), ["".join(lines[row]) for row in sorted(lines)]


def wrong(written, found):
    """How many digits of one text have to be changed, left out or put in to make the other: Levenshtein's distance."""
    last = list(range(len(found) + 1))
    for row, one in enumerate(written, 1):
        now = [row]
        for column, other in enumerate(found, 1):
            now.append(min(last[column] + 1, now[-1] + 1, last[column - 1] + (one != other)))
        last = now
    return last[-1]


def measure(pages, logits_of):
    """Read pages of pages_of: how many digits they have, how many are right, how many lines too, seconds for all."""
    digits = right = lines = whole = 0
    seconds = 0.0
    for photo, written in pages:
        start = time.perf_counter()
        reading = read(photo, logits_of)
        seconds += time.perf_counter() - start
        found = [line.text.replace(" ", "") for line in reading.lines]
        count = len("".join(written))
        digits += count
        right += max(0, count - wrong("".join(written), "".join(found)))
        lines += len(written)
        whole += sum(line in found for line in written)
    return digits, right, lines, whole, seconds


def main():
    """Print the table."""
    devices.tune_cpu()
    run = Path(sys.argv[1]) if len(sys.argv) > 1 else train.CHECKPOINTS_DIR / "small"
    epoch, path = best_epoch(run)
    model = load_parameters(path)
    images, labels = train.load_mnist(train=False, device=devices.CPU)
    print(f"read with epoch {epoch} of {run} on {devices.device_name(devices.CPU)}, {PAGES} pages a row\n")
    print(
        "| pages of test digits | digits | read right, % | lines wholly right, % | ms a page |\n" + "| --- " * 5 + "|"
    )
    for row in ROWS:
        pages = list(pages_of(row, images[:, 0].numpy(), labels.numpy()))
        digits, right, lines, whole, seconds = measure(pages, lambda digits: predict(model, digits))
        shares = f"{right / digits * 100:.1f} | {whole / lines * 100:.1f}"
        print(f"| {row} | {digits} | {shares} | {seconds / len(pages) * 1000:.0f} |", flush=True)


if __name__ == "__main__":
    main()
