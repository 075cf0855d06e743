"""The answers to the page's requests, ready for JSON: what a picture or a drawing says."""

import numpy as np
from PIL import Image, ImageDraw

from handwriting.layers import address_of
from handwriting.photo import pages
from handwriting.reader import read, read_drawing
from support.errors import UserError

SHEET, PEN = (800, 600), 28  # the size of the page's sheet and the width of its pen, in units of the sheet (page.html)
SCALE = 0.65  # pixels per unit: gives the pen the width that read_drawing expects
SMOOTH = 3  # a drawing is painted this many times larger, then scaled down, for smooth edges
MIN_SIDE = 8  # pixels: the smallest part that can be read
TURNS = ("0", "90", "180", "270")  # degrees clockwise


def answer_picture(file, part, turn, model):
    """Read a picture, a binary file, turned clockwise by "0", "90", "180" or "270" degrees, or a part of it as it is
    then: "left,top,right,bottom", each from 0 to 1. Returns a dict:

    the picture's "width" and "height"; by how many degrees it was "turned"; "lines", from top to bottom, each with its
    "text" and its "numbers", lists of digits: the "box" in the picture [left, top, right, bottom], the "image" that the
    network saw, ten "probabilities", the "answer", its "confidence" and whether it is "unsure"; the "picture" that was
    read, for browsers that can't show the file; and "pages", the number of pages of the file, of which the first is
    read. Pictures are data: URLs. model: as for reader.read. Raises UserError.
    """
    _, page, count = next(pages(file, "This file"))
    if isinstance(page, UserError):
        raise page
    if turn not in TURNS:
        raise UserError(f"A picture is turned by {', '.join(TURNS)} degrees")
    picture = np.rot90(page.picture, -TURNS.index(turn))
    height, width = picture.shape[:2]
    try:
        shares = np.clip([float(share) for share in part.split(",")], 0, 1)
        left, top, right, bottom = (int(side * share) for side, share in zip((width, height) * 2, shares, strict=True))
        if min(right - left, bottom - top) < MIN_SIDE:
            raise ValueError
    except ValueError:
        raise UserError("This part is too small: drag a larger frame") from None
    reading = read(np.ascontiguousarray(picture[top:bottom, left:right]), model)
    return _answer(reading, picture, left, top) | {"picture": address_of(picture, "JPEG"), "pages": count}


def answer_drawing(strokes, pen, model):
    """Read a drawing, given as strokes (see painted): the dict of answer_picture, without "picture" and "pages"."""
    picture = painted(strokes, float(pen))
    return _answer(read_drawing(picture, model), picture)


def _answer(reading, picture, left=0, top=0):
    """The dict for the reading of a picture's part whose top left corner is at (left, top)."""

    def told(digit):
        box = np.add(digit.box, (left, top, left, top)).tolist()
        answer = {"answer": digit.answer, "confidence": digit.confidence, "unsure": digit.unsure}
        return {"box": box, "image": address_of(digit.image), "probabilities": digit.probabilities.tolist()} | answer

    lines = [
        {"text": line.text, "numbers": [[told(digit) for digit in number] for number in line.numbers]}
        for line in reading.lines
    ]
    return {"width": picture.shape[1], "height": picture.shape[0], "turned": reading.turned, "lines": lines}


def painted(strokes, width):
    """Paint a drawing for read_drawing: uint8 [390, 520, 3], black on white.

    strokes: a list of lists of points [x, y], in the sheet's units. The page sends these instead of pixels, because
    some browsers don't let a page read its canvas. Raises UserError if they are anything else.
    """
    scale = SCALE * SMOOTH
    image = Image.new("L", [round(side * scale) for side in SHEET], "white")
    pen, radius = ImageDraw.Draw(image), width * scale / 2
    try:
        for stroke in strokes:
            points = np.nan_to_num(np.array(stroke, np.float32).reshape(-1, 2)).clip(-PEN, max(SHEET) + PEN) * scale
            pen.line(points.ravel().tolist(), "black", round(2 * radius))
            for x, y in points.tolist():
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), "black")
    except (TypeError, ValueError):
        raise UserError("A drawing is a list of strokes, each a list of points [x, y]") from None
    return np.array(image.reduce(SMOOTH).convert("RGB"))
