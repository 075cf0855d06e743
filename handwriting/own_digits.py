"""What was read -> own_digits.png."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from support.files import atomic_write

WIDTH, MARGIN = 1300, 20  # pixels
DIGIT = 44  # pixels: about how high a digit is drawn on its photo
CELL = 62, 88  # pixels: a digit as the network saw it, with its answer
FONT = ImageFont.load_default(14)
SURE_COLOUR, UNSURE_COLOUR = (0, 92, 200), (205, 70, 0)


def draw_own_digits(path, read, pictures):
    """Draw what was read to the PNG file `path`: each photo with a frame and the answer at every digit, and the digits
    as the network saw them beside it or, where the photo is wide, below.

    read: a list of (name, picture as photo.Page has it, Reading), of as many pictures as `pictures` says. Raises
    UserError where the file can't be written.
    """
    panels = [_panel(*entry) for entry in read]
    sheet = Image.new("RGB", (WIDTH, 2 * MARGIN + sum(panel.height for panel in panels)), "white")
    ImageDraw.Draw(sheet).text((MARGIN, MARGIN / 2), f"{len(read)} of {pictures} pictures", "black", FONT)
    top = 2 * MARGIN
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
    turned = f" (turned by {reading.turned}° to be read)" if reading.turned else ""
    draw.text((MARGIN, MARGIN / 2), name + turned, "black", FONT)
    panel.paste(photo, (MARGIN, 2 * MARGIN))
    for number, digit in enumerate(digits):
        row, column = divmod(number, columns)
        x, y = left + column * CELL[0], top + row * CELL[1]
        panel.paste(Image.fromarray(digit.form).resize((56, 56), Image.Resampling.NEAREST), (x, y))
        draw.text((x + 28, y + 59), f"{digit.answer}  {digit.certainty:.0%}", _colour(digit), FONT, "ma")
    return panel


def _colour(digit):
    return UNSURE_COLOUR if digit.unsure else SURE_COLOUR


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
        draw.rectangle((left - 3, top - 3, right + 3, bottom + 3), outline="white", width=3)  # to be seen on the dark
        draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), outline=_colour(digit))
    for digit in digits:
        top, left, bottom, _ = (edge * scale for edge in digit.box)
        height = max(11, math.ceil(0.4 * (bottom - top)))
        below = min(bottom + height, photo.height - 3)  # where there is no room above
        at = min(max(left - 2, 2), photo.width - 0.7 * height), top - 3 if top - 3 >= height else below
        font = ImageFont.load_default(height)
        draw.text(at, str(digit.answer), _colour(digit), font, "ls", stroke_width=2, stroke_fill="white")
    return photo
