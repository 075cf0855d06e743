"""Reads image files: the digits are printed, written to own_digits.csv, and drawn in own_digits.png."""

import glob
import os
import queue
import re
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from tqdm import tqdm

from handwriting.photo import pages
from handwriting.reader import read
from support.errors import UserError
from support.files import atomic_write, shown, write_csv

SUFFIX = re.compile(r"\.(png|jpe?g|jfif|bmp|webp|gif|tiff?|avif|hei[cf]|hif|pdf)", re.IGNORECASE)
NAME = "own_digits"  # of the table and the picture, which are skipped when their folder is read
COLUMNS = "file page line position digit confidence second second_confidence left top right bottom turned"
NAMED = 3  # how many of the files that are not pictures are named
PHOTOS = 20  # maximum number that is drawn
WIDTH, MARGIN = 1300, 20  # pixels: of own_digits.png
DIGIT = 44  # pixels: about the height of a digit on its photo in own_digits.png
FONT = ImageFont.load_default(14)
SURE_COLOUR, UNSURE_COLOUR = (0, 92, 200), (205, 70, 0)


def read_images(paths, model, folder):
    """Print the numbers in each image, and which digits are unsure; write own_digits.csv and own_digits.png.

    paths: image files, patterns such as *.jpg, and folders. model: as for reader.read. folder: where the two files
    go. The numbers go to standard output, all else to standard error. Returns the exit code: 1 if an image could not be
    read or shows no digit, else 0. Raises UserError if the two files can't be written.
    """
    files, others = find_files(paths)
    if others:
        named = ", ".join(file.name for file in others[:NAMED]) + ", …" * (len(others) > NAMED)
        _say(f"{len(others)} {'files are not pictures' if len(others) > 1 else 'file is not a picture'}: {named}")
    drawn, rows, pictures, unsure, failures = [], [], 0, 0, 0
    with tqdm(total=len(files), unit=" pictures", disable=None, leave=False, miniters=1) as bar:
        for file in files:
            for number, (name, page, count) in enumerate(iter(partial(_next, pages(file, file)), None), 1):
                bar.total += count - 1 if number == 1 else 0
                pictures += 1
                reading = None if isinstance(page, UserError) else read(page.picture, model)
                if reading and reading.lines:
                    _print_reading(name, page, reading)
                    unsure += sum(digit.unsure for digit in reading.digits)
                    rows += _rows(name, number, page, reading)
                    if len(drawn) < PHOTOS:
                        drawn.append((Path(name).name, _framed(page.picture, reading.digits)))
                else:
                    _say(f"error: {f'{name} shows no digit: write darker, or move closer' if reading else page}")
                    failures += 1
                bar.update()
    if drawn:
        picture, table = folder / f"{NAME}.png", folder / f"{NAME}.csv"
        _draw(picture, drawn, f"{len(drawn)} of {pictures} pictures")
        write_csv(table, COLUMNS.split(), rows, "utf-8-sig")  # spreadsheets recognise UTF-8 by its byte order mark
        _say(f"saved {shown(picture)} and {shown(table)}")
    if pictures > 1:
        _say(f"{pictures} pictures: {len(rows)} digit{'s' * (len(rows) != 1)}, {unsure} unsure; {failures} failed")
    return 1 if failures else 0


def find_files(paths):
    """The image files that the paths stand for, and the other files in the folders among them: two lists.

    A folder stands for the images in it and its subfolders, without hidden ones, in natural order; a pattern such as
    *.jpg, which Windows' shells do not expand, for the files that match. If there are none, each stands for itself.
    """
    files, others = [], []
    for path in paths:
        matching = () if os.path.exists(path) else glob.glob(str(path), recursive=True)  # noqa: PTH110, PTH207
        for place in sorted(map(Path, matching), key=_natural) or [path]:
            inside = []
            for folder, subfolders, names in os.walk(place):
                subfolders[:] = [name for name in subfolders if not name.startswith(".")]
                inside += [Path(folder, name) for name in names if not name.startswith((".", f"{NAME}."))]
            inside.sort(key=_natural)
            files += [file for file in inside if SUFFIX.fullmatch(file.suffix)] or [place]
            others += [file for file in inside if not SUFFIX.fullmatch(file.suffix)]
    return files, others


def _natural(path):
    """A sort key that puts 2.png before 10.png."""
    return [[int(s) if s.isdecimal() else s.lower() for s in re.split(r"(\d+)", part)] for part in path.parts]


def _next(each):
    """The iterator's next item, or None, made in a thread: in the main one, a decoder's C code would block Ctrl-C."""
    made = queue.SimpleQueue()
    threading.Thread(target=lambda: made.put(next(each, None)), daemon=True).start()
    while True:
        with suppress(queue.Empty):
            return made.get(timeout=0.2)  # seconds: without it, Windows would not notice Ctrl-C either


def _say(text, file=None):
    """Print a line above the progress bar, to standard error or `file`; characters that it can't show are escaped."""
    file = file or sys.stderr
    encoding = file.encoding or "utf-8"
    tqdm.write(text.encode(encoding, "backslashreplace").decode(encoding), file)
    file.flush()


def _print_reading(name, page, reading):
    """Print a picture's lines, such as "page.jpg: 2102   unsure: the 3rd, 0 (48 %, or 6 41 %)", and any remarks."""
    for line in reading.lines:
        unsure = [
            f"the {_ordinal(position)}, {digit.answer} ({digit.confidence:.0%}{_second(digit)})".replace("%", " %")
            for position, digit in enumerate(line.digits, 1)
            if digit.unsure
        ]
        _say(f"{name}: {line.text}" + f"   unsure: {'; '.join(unsure)}" * bool(unsure), sys.stdout)
    if reading.turned:
        _say(f"{name} was turned by {reading.turned}° to be read")
    if page.frame:
        _say(f"{name} is animated: frame {page.frame} was read, the first that is not blank")


def _second(digit):
    """The second answer, as in ", or 6 41%"; "" if its chance is below 1 %: the doubt is then whether it is a digit."""
    chance = digit.probabilities[digit.second]
    return f", or {digit.second} {chance:.0%}" if chance >= 0.01 else ""


def _ordinal(number):
    """A number as an ordinal, such as "3rd"."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _rows(name, number, page, reading):
    """A page's rows for own_digits.csv."""
    for row, line in enumerate(reading.lines, 1):
        for position, digit in enumerate(line.digits, 1):
            answers = digit.answer, f"{digit.confidence:.4f}", digit.second, f"{digit.probabilities[digit.second]:.4f}"
            box = (f"{edge:.1f}" for edge in page.given(digit.box))
            yield name, number, row, position, *answers, *box, reading.turned


def _framed(picture, digits):
    """The photo, scaled so that its digits are about DIGIT pixels high, each with its box and its answer."""
    scale = max(DIGIT / np.median([digit.box[3] - digit.box[1] for digit in digits]), 200 / max(picture.shape))
    scale = min(scale, 6, (WIDTH - 4 * MARGIN) / picture.shape[1], 2 * WIDTH / picture.shape[0])
    photo = ImageOps.expand(ImageOps.scale(Image.fromarray(picture), scale), MARGIN, "white")  # room for answers
    draw = ImageDraw.Draw(photo)
    for digit in digits:
        left, top, right, bottom = (edge * scale + MARGIN for edge in digit.box)
        colour, label = (UNSURE_COLOUR, f"{digit.answer}?") if digit.unsure else (SURE_COLOUR, f"{digit.answer}")
        draw.rectangle((left - 3, top - 3, right + 3, bottom + 3), outline="white", width=3)  # visible on dark photos
        draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), outline=colour)
        font = ImageFont.load_default(min(max(11, 0.4 * (bottom - top)), MARGIN))
        draw.text((left - 2, top - 3), label, colour, font, "ls", stroke_width=2, stroke_fill="white")
    return photo


def _draw(path, photos, title):
    """Write own_digits.png: photos, a list of (name, image), each below its name, side by side where there is room."""
    places, left, top, bottom = [], MARGIN, 2 * MARGIN, 0
    for name, photo in photos:
        width = max(photo.width, FONT.getlength(name)) + MARGIN
        if left + width > WIDTH:
            left, top = MARGIN, bottom
        places.append((int(left), top))
        left, bottom = left + width, max(bottom, top + MARGIN + photo.height)
    sheet = Image.new("RGB", (WIDTH, bottom), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN / 2), title, "black", FONT)
    for (name, photo), (left, top) in zip(photos, places, strict=True):
        sheet.paste(photo, (left, top + MARGIN))
        draw.text((left + MARGIN, top + MARGIN / 2), name, "black", FONT)
    with atomic_write(path) as file:
        sheet.save(file, "PNG")
