"""What the page asks, as JSON can carry it: a picture or a drawing read, and what each layer makes of a digit."""

import base64
import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from handwriting.photo import pages
from handwriting.reader import read, read_drawing
from support.errors import UserError

SHEET, PEN = (800, 600), 28  # of the page's sheet, in its own units, as in page.html
DRAWN = 0.65  # pixels a unit: gives the pen the width that read_drawing expects
SMOOTH = 3  # times as large a drawing is painted, and then made smaller, for smooth edges
MIN_SIDE = 8  # pixels: of what can be read
MAX_MAPS = 16  # shown of a convolution
STRIP = 16  # times as wide as high is the picture of a linear layer
DATA = "data:image/png;base64,"
DOES = {
    "form": "The digit's ink, in the form of MNIST's digits: all that the network gets.",
    "conv1": "3×3 filters move over the form; then BatchNorm and ReLU.",
    "conv2": "A 2×2 max pool halves those maps; 3×3 filters over all of them, BatchNorm and ReLU.",
    "conv3": "Once more a 2×2 max pool, 3×3 filters, BatchNorm and ReLU.",
    "fc1": "Each unit weighs all values of conv3; then ReLU.",
    "fc2": "Each unit weighs all of fc1; then ReLU.",
}


def read_file(file, part, logits_of):
    """Read a picture, a binary file, or a part of it: "left,top,right,bottom", each from 0 to 1. Returns a dict:

    "width" and "height" of the picture, by how many degrees it was "turned", and "lines", from top to bottom: their
    "text" and their "numbers", which are lists of digits: "box" in the picture [top, left, bottom, right], "form" that
    the network saw, ten "probabilities", the "answer", its "certainty" and whether that is "unsure"; the "picture" that
    was read, for browsers that can't show the file, and of how many "pages" it is the first. Pictures are data:
    addresses. logits_of: as reader.read takes it. Raises UserError.
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
    """Read a drawing's strokes, as painted takes them. Returns a dict, as read_file, without "picture" and "pages"."""
    picture = painted(strokes)
    return _answer(read_drawing(picture, logits_of), picture)


def _answer(reading, picture, left=0, top=0):
    """A reading of the part of a picture that begins at left, top, as a dict."""

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
    """A drawing as read_drawing takes it, uint8 [390, 520, 3], black on white.

    strokes: a list of lists of points [x, y], in the sheet's units. They come in place of the canvas's pixels, which
    some browsers keep from a page. Raises UserError where they are none.
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
    """What each layer of a myCNN, in eval mode, makes of a form, uint8 [28, 28], after ReLU and before max pooling.

    A dict from "conv1", "conv2", "conv3", "fc1" and "fc2" to float tensors [maps, side, side] or [units].
    """
    conv1 = model.bn1(model.conv1(torch.tensor(form)[None, None] / 255)).relu()
    conv2 = model.bn2(model.conv2(F.max_pool2d(conv1, 2))).relu()
    conv3 = model.bn3(model.conv3(F.max_pool2d(conv2, 2))).relu()
    fc1 = model.fc1(conv3.flatten(1)).relu()
    fc2 = model.fc2(fc1).relu()
    return {"conv1": conv1[0], "conv2": conv2[0], "conv3": conv3[0], "fc1": fc1[0], "fc2": fc2[0]}


def layers(model, form):
    """The way of a digit through a myCNN, in eval mode, step by step, for people to look at.

    form: the picture in an answer of read_file. Returns for each step a dict: its "name", its "size", what it "does",
    both in words, and its "pictures", data: addresses of PNG files. Their pixels are the activations, one scale a
    layer: 255 is the largest. Of maps those with the highest mean are shown, the highest first; units are wrapped into
    a strip. Raises UserError where the form is none.
    """
    try:
        digit = np.array(Image.open(io.BytesIO(base64.b64decode(form.removeprefix(DATA))), formats=["PNG"]))
    except (ValueError, OSError):
        raise UserError("This is no form of a digit") from None
    steps = [{"name": "Form", "size": "28×28 pixels", "does": DOES["form"], "pictures": [form]}]
    for name, found in activations(model, digit).items():
        largest = max(found.max().item(), 1e-9)
        values = (found * 255 / largest).round().byte().numpy()
        if found.ndim == 3:
            shown = values[found.mean((1, 2)).argsort(descending=True)[:MAX_MAPS].numpy()]
            size = f"{len(shown)} of {len(found)} maps of {found.shape[1]}×{found.shape[2]}, the highest mean first"
        else:
            width = math.ceil(math.sqrt(STRIP * len(values)))
            shown = np.pad(values, (0, -len(values) % width)).reshape(1, -1, width)
            size = f"{len(values)} units"
        does = f"{DOES[name]} White is {largest:.1f}."
        steps.append({"name": name, "size": size, "does": does, "pictures": [_address(grey) for grey in shown]})
    return steps


def _address(picture, kind="PNG"):
    """A picture, uint8 [height, width] or [height, width, 3], as a data: address."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
