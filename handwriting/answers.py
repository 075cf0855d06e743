"""The answers to the page's requests, ready for JSON: what a picture or a drawing says, and a digit's activations."""

import base64
import io
import math

import numpy as np
import torch
from PIL import Image, ImageDraw

from handwriting.photo import pages
from handwriting.reader import read, read_drawing
from support.errors import UserError

SHEET, PEN = (800, 600), 28  # the size of the page's sheet and the width of its pen, in units of the sheet (page.html)
DRAWN = 0.65  # pixels per unit: gives the pen the width that read_drawing expects
SMOOTH = 3  # a drawing is painted this many times larger, then scaled down, for smooth edges
MIN_SIDE = 8  # pixels: the smallest part that can be read
MAX_MAPS = 16  # feature maps shown of a convolution
STRIP = 16  # width / height of a linear layer's picture
DATA = "data:image/png;base64,"
DOES = {
    "form": "The digit's ink, cut out and centred as in MNIST: this is all that the network sees.",
    "conv1": "3×3 filters move over the form; then BatchNorm and ReLU.",
    "conv2": "2×2 max pooling halves these maps; then 3×3 filters over all of them, BatchNorm and ReLU.",
    "conv3": "2×2 max pooling again, then 3×3 filters, BatchNorm and ReLU.",
    "fc1": "Each unit is a weighted sum of all values of conv3; then ReLU.",
    "fc2": "Each unit is a weighted sum of all units of fc1; then ReLU.",
}


def read_file(file, part, logits_of):
    """Read a picture, a binary file, or a part of it: "left,top,right,bottom", each from 0 to 1. Returns a dict:

    the picture's "width" and "height"; by how many degrees it was "turned"; "lines", from top to bottom, each with its
    "text" and its "numbers", lists of digits: the "box" in the picture [top, left, bottom, right], the "form" that the
    network saw, ten "probabilities", the "answer", its "certainty" and whether it is "unsure"; the "picture" that was
    read, for browsers that can't show the file; and "pages", the number of pages of the file, of which the first is
    read. Pictures are data: URLs. logits_of: as for reader.read. Raises UserError.
    """
    _, page, count = next(pages(file, "This file"))
    if isinstance(page, UserError):
        raise page
    height, width = page.picture.shape[:2]
    try:
        shares = np.clip([float(share) for share in part.split(",")], 0, 1)
        left, top, right, bottom = (int(side * share) for side, share in zip((width, height) * 2, shares, strict=True))
        if min(right - left, bottom - top) < MIN_SIDE:
            raise ValueError
    except ValueError:
        raise UserError("This part is too small: drag a larger frame") from None
    reading = read(np.ascontiguousarray(page.picture[top:bottom, left:right]), logits_of)
    return _answer(reading, page.picture, left, top) | {"picture": _address(page.picture, "JPEG"), "pages": count}


def read_strokes(strokes, logits_of):
    """Read a drawing, given as strokes (see painted). Returns the dict of read_file, without "picture" and "pages"."""
    picture = painted(strokes)
    return _answer(read_drawing(picture, logits_of), picture)


def _answer(reading, picture, left=0, top=0):
    """The dict for the reading of a picture's part whose top left corner is at (left, top)."""

    def told(digit):
        box = np.add(digit.box, (top, left, top, left)).tolist()
        numbers = {"probabilities": digit.probabilities.tolist(), "answer": digit.answer, "certainty": digit.certainty}
        return {"box": box, "form": _address(digit.form), "unsure": digit.unsure} | numbers

    lines = [
        {"text": line.text, "numbers": [[told(digit) for digit in number] for number in line.numbers]}
        for line in reading.lines
    ]
    return {"width": picture.shape[1], "height": picture.shape[0], "turned": reading.turned, "lines": lines}


def painted(strokes):
    """Paint a drawing for read_drawing: uint8 [390, 520, 3], black on white.

    strokes: a list of lists of points [x, y], in the sheet's units. The page sends these instead of pixels, because
    some browsers don't let a page read its canvas. Raises UserError if they are anything else.
    """
    scale = DRAWN * SMOOTH
    image = Image.new("L", [round(side * scale) for side in SHEET], "white")
    pen, radius = ImageDraw.Draw(image), PEN * scale / 2
    try:
        for stroke in strokes:
            points = np.nan_to_num(np.array(stroke, np.float32).reshape(-1, 2)).clip(-PEN, max(SHEET) + PEN) * scale
            pen.line(points.ravel().tolist(), "black", round(2 * radius))
            for x, y in points.tolist():
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), "black")
    except (TypeError, ValueError):
        raise UserError("A drawing is a list of strokes, each a list of points [x, y]") from None
    return np.array(image.reduce(SMOOTH).convert("RGB"))


@torch.inference_mode()
def activations(model, form):
    """The activations of a myCNN, in eval mode, for a form, uint8 [28, 28], after ReLU and before max pooling.

    A dict from "conv1", "conv2", "conv3", "fc1" and "fc2" to float tensors [maps, side, side] or [units].
    """
    found = {}

    def note(name):
        return lambda module, inputs, output: found.update({name: output[0].relu()})

    before_relu = {"conv1": model.bn1, "conv2": model.bn2, "conv3": model.bn3, "fc1": model.fc1, "fc2": model.fc2}
    hooks = [module.register_forward_hook(note(name)) for name, module in before_relu.items()]
    model(torch.tensor(form)[None, None] / 255)
    for hook in hooks:
        hook.remove()
    return found


def layers(model, form):
    """How a myCNN, in eval mode, reads a digit, layer by layer, as pictures for people to look at.

    form: a digit's "form" from read_file. Returns a dict for each step: its "name", its "size" and what it "does", both
    in words, and its "pictures", data: URLs of PNG files. Their pixels are the activations, scaled so that 255 is the
    largest of the layer. Of the feature maps, those with the highest mean are shown, highest first; units are wrapped
    into a strip. Raises UserError if the form is not a PNG file.
    """
    try:
        digit = np.array(Image.open(io.BytesIO(base64.b64decode(form.removeprefix(DATA))), formats=["PNG"]))
    except (ValueError, OSError):
        raise UserError("This is not a digit's form") from None
    steps = [{"name": "Form", "size": "28×28 pixels", "does": DOES["form"], "pictures": [form]}]
    for name, found in activations(model, digit).items():
        largest = max(found.max().item(), 1e-9)
        values = (found * 255 / largest).round().byte().numpy()
        if found.ndim == 3:
            shown = values[found.mean((1, 2)).argsort(descending=True)[:MAX_MAPS].numpy()]
            size = f"{len(shown)} of {len(found)} maps of {found.shape[1]}×{found.shape[2]}, highest mean first"
        else:
            width = math.ceil(math.sqrt(STRIP * len(values)))
            shown = np.pad(values, (0, -len(values) % width)).reshape(1, -1, width)
            size = f"{len(values)} units"
        does = f"{DOES[name]} White is {largest:.1f}."
        steps.append({"name": name, "size": size, "does": does, "pictures": [_address(grey) for grey in shown]})
    return steps


def _address(picture, kind="PNG"):
    """A picture, uint8 [height, width] or [height, width, 3], as a data: URL."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
