"""Image files -> what is written on them, printed, and own_digits.png."""

import math
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from handwriting.photo import image_files, load_photo
from handwriting.reader import read
from support.errors import UserError
from support.files import atomic_write, shown

PHOTOS = 20  # drawn at the most
WIDTH, MARGIN = 1300, 20  # pixels
DIGIT = 44  # pixels: about how high a digit is drawn on its photo
CELL = 62, 88  # pixels: a digit as the network saw it, with its answer
UNSURE = 0.5  # less probable answers are drawn in another colour
SURE_COLOUR, UNSURE_COLOUR = (0, 92, 200), (205, 70, 0)


def read_images(paths, logits_of, folder):
    """Print the digits on each image, how sure the network is of each, and the runner-up; draw own_digits.png.

    paths: image files, and folders of them. logits_of: as reader.read takes it. folder: where own_digits.png goes.
    Returns the exit code: 1 where an image could not be read, else 0.
    """
    drawn, failures = [], 0
    for path in image_files(paths):
        try:
            if path.is_dir():
                raise UserError(f"{path} has no image and no epoch that can be read")
            if not path.is_file():
                raise UserError(f"{path} is not there or no file: name a run, such as checkpoints/run-001, or an image")
            picture = load_photo(path, path)
            reading = read(picture, logits_of)
            if not reading.lines:
                raise UserError(f"{path} shows no digit: write darker, or come closer")
        except (UserError, OSError) as error:  # OSError: of a name that is too long
            print(f"error: {error}", file=sys.stderr)
            failures += 1
            continue
        for line in reading.lines:
            print(f"{path}: {line.text}   {', '.join(map(_sure, line.digits))}", flush=True)
        if reading.turned:
            print(f"{path}: read turned by {reading.turned}°")
        if len(drawn) < PHOTOS:
            drawn.append((path.name, picture, reading))
    if drawn:
        draw_own_digits(folder / "own_digits.png", drawn)
        print(f"pictures in {shown(folder / 'own_digits.png')}")
    return 1 if failures else 0


def _sure(digit):
    """A digit with its probability and the runner-up, such as "4 91.0% (or 9 1.2%)"."""
    second, first = digit.probabilities.argsort()[-2:]
    return f"{first} {digit.probabilities[first]:.1%} (or {second} {digit.probabilities[second]:.1%})"


def draw_own_digits(path, read):
    """Draw what was read to the PNG file `path`: each photo with a frame and the answer at every digit, and the digits
    as the network saw them beside it or, where the photo is wide, below.

    read: a list of (name, picture as photo.load_photo gives it, Reading). Raises UserError where the file can't be
    written.
    """
    panels = [_panel(*entry) for entry in read]
    sheet = Image.new("RGB", (WIDTH, sum(panel.height for panel in panels)), "white")
    top = 0
    for panel in panels:
        sheet.paste(panel, (0, top))
        top += panel.height
    with atomic_write(path) as file:
        sheet.save(file, "PNG")


def _panel(name, picture, reading):
    """One photo and its digits, an image WIDTH pixels wide."""
    digits = reading.digits
    photo = _framed(picture, digits)
    beside = photo.width <= WIDTH / 2
    left, top = (photo.width + 2 * MARGIN, 2 * MARGIN) if beside else (MARGIN, photo.height + 3 * MARGIN)
    columns = (WIDTH - MARGIN - left) // CELL[0]
    rows = -(-len(digits) // columns)
    height = max(top + rows * CELL[1], 2 * MARGIN + photo.height) + MARGIN
    panel = Image.new("RGB", (WIDTH, height), "white")
    draw = ImageDraw.Draw(panel)
    turned = f" (read turned by {reading.turned}°)" if reading.turned else ""
    draw.text((MARGIN, MARGIN / 2), name + turned, "black", ImageFont.load_default(15))
    panel.paste(photo, (MARGIN, 2 * MARGIN))
    font = ImageFont.load_default(13)
    for number, digit in enumerate(digits):
        row, column = divmod(number, columns)
        x, y = left + column * CELL[0], top + row * CELL[1]
        panel.paste(Image.fromarray(digit.form).resize((56, 56), Image.Resampling.NEAREST), (x, y))
        draw.text((x + 28, y + 59), f"{digit.answer}  {digit.probabilities.max():.0%}", _colour(digit), font, "ma")
    return panel


def _colour(digit):
    return SURE_COLOUR if digit.probabilities.max() >= UNSURE else UNSURE_COLOUR


def _framed(picture, digits):
    """The photo, scaled so that its digits are about DIGIT pixels high, with a frame and the answer at each."""
    heights = [digit.box[2] - digit.box[0] for digit in digits]
    scale = min(max(DIGIT / np.median(heights), 200 / max(picture.shape[:2])), 6)
    scale = min(scale, (WIDTH - 2 * MARGIN) / picture.shape[1], 2 * WIDTH / picture.shape[0])
    size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])
    photo = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(photo)
    for digit in digits:
        top, left, bottom, right = (edge * scale for edge in digit.box)
        draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), outline=_colour(digit))
        text = ImageFont.load_default(max(11, math.ceil(0.4 * (bottom - top))))
        draw.text(
            (left - 2, top - 3), str(digit.answer), _colour(digit), text, "ls", stroke_width=2, stroke_fill="white"
        )
    return photo
