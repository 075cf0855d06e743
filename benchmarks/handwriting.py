"""How well handwriting is read: python benchmarks/handwriting.py [FOLDER]

Without FOLDER it makes pages of each kind, from what the detector did not learn from. FOLDER has labelled pictures:
images/, and labels.csv with the columns file, digits (lines separated by "/"), kind and writer; writers with odd and
with even numbers are also scored apart. The network in checkpoints/small reads them. Prints Markdown tables: how much
is read, and how confidently.
"""

import csv
import sys
from importlib.resources import files
from pathlib import Path

import matplotlib

sys.path.insert(0, str(Path(__file__).parent.parent))
from handwriting import SMALL
from handwriting.photo import load_photo
from handwriting.training.measuring import made_pages, print_table
from handwriting.training.sources import HELD_OUT_WRITERS, Source, held_out_source, pen_writers
from Model import load_parameters
from support.device import CPU, device_name, tune_cpu
from support.runs import last_epoch


def source(images, labels):
    """A Source of digits, uint8 [N, 28, 28] and int [N], pen digits, and fonts that pip installs."""
    printed = sorted(Path(matplotlib.get_data_path()).glob("fonts/ttf/DejaVuS*[!y].ttf"))  # …Display has no digits
    hand = [path for name in ("font_amatic_sc", "font_intuitive") for path in files(name).glob("files/*.ttf")]
    return Source(images, labels, pen_writers()[-HELD_OUT_WRITERS:], printed, sorted(hand), [], [])


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
    model = load_parameters(last_epoch(SMALL)[1])
    print(f"read on {device_name(CPU)}\n")
    print_table(pictures_in(Path(sys.argv[1])) if sys.argv[1:] else made_pages(held_out_source()), model)


if __name__ == "__main__":
    main()
