"""What the page asks, as JSON can carry it: a picture or a drawing read, and what each layer makes of a digit."""

import base64
import io
import math

import numpy as np
import torch
from PIL import Image, ImageDraw

from handwriting.photo import load_photo
from handwriting.reader import read, read_drawing
from support.errors import UserError

SHEET, PEN = (800, 600), 28  # of the page's sheet, in its own units, as in page.html
DRAWN = 0.65  # pixels a unit: gives the pen the width that read_drawing expects
SMOOTH = 3  # times as large a drawing is painted, and then made smaller, for smooth edges
MAX_POINTS = 20_000  # of a drawing: half a second to paint
MIN_PART = 8  # pixels: the sides of the smallest picture that can be read
MAX_MAPS, MAX_UNITS = 16, 4096  # shown of a convolution, and of a linear layer
PALETTE = [round(255 * (i / 255) ** power) for i in range(256) for power in (1.4, 0.9, 0.6)]  # black, blue, white
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
    the network saw, a data: address of a PNG, ten "probabilities", the "answer", its "certainty" and whether that is
    "unsure". logits_of: as reader.read takes it. Raises UserError.
    """
    picture = load_photo(file, "This file")
    height, width = picture.shape[:2]
    try:
        shares = np.clip([float(share) for share in part.split(",")], 0, 1)
        left, top, right, bottom = (int(side * share) for side, share in zip((width, height) * 2, shares, strict=True))
    except ValueError:
        raise UserError("A part is left,top,right,bottom, each from 0 to 1") from None
    if min(right - left, bottom - top) < MIN_PART:
        raise UserError("This part is too small: drag a larger frame")
    reading = read(np.ascontiguousarray(picture[top:bottom, left:right]), logits_of)
    return _answer(reading, width, height, left, top)


def read_strokes(strokes, logits_of):
    """Read a drawing's strokes, as painted takes them. Returns a dict, as read_file."""
    picture = painted(strokes)
    return _answer(read_drawing(picture, logits_of), picture.shape[1], picture.shape[0])


def _answer(reading, width, height, left=0, top=0):
    """A reading of the part of a picture that begins at left, top, as a dict."""

    def told(digit):
        box = np.add(digit.box, (top, left, top, left)).tolist()
        numbers = {"probabilities": digit.probabilities.tolist(), "answer": digit.answer, "certainty": digit.certainty}
        return {"box": box, "form": _png(digit.form), "unsure": digit.unsure} | numbers

    lines = [
        {"text": line.text, "numbers": [[told(digit) for digit in number] for number in line.numbers]}
        for line in reading.lines
    ]
    return {"width": width, "height": height, "turned": reading.turned, "lines": lines}


def painted(strokes):
    """A drawing as read_drawing takes it, uint8 [390, 520, 3], black on white.

    strokes: a list of lists of points [x, y], in the sheet's units. They come in place of the canvas's pixels, which
    some browsers keep from a page. Raises UserError where they are none, or too many.
    """
    scale = DRAWN * SMOOTH
    image = Image.new("L", [round(side * scale) for side in SHEET], "white")
    pen, radius = ImageDraw.Draw(image), PEN * scale / 2
    try:
        if sum(map(len, strokes)) > MAX_POINTS:
            raise UserError("This drawing has too many strokes: clear the sheet")
        for stroke in strokes:
            points = np.clip(np.array(stroke, np.float32).reshape(-1, 2), -PEN, max(SHEET) + PEN) * scale
            if not np.isfinite(points).all():
                raise ValueError
            pen.line(points.ravel().tolist(), "black", round(2 * radius))
            for x, y in points.tolist():
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), "black")
    except (TypeError, ValueError):
        raise UserError("A drawing is a list of strokes, each a list of points [x, y]") from None
    return np.array(image.reduce(SMOOTH).convert("RGB"))


def activations(model, form):
    """What each layer of a myCNN, in eval mode, makes of a form, uint8 [28, 28], after ReLU and before max pooling.

    A dict from "conv1", "conv2", "conv3", "fc1" and "fc2" to float tensors [maps, side, side] or [units].
    """
    parts = {"conv1": model.bn1, "conv2": model.bn2, "conv3": model.bn3, "fc1": model.fc1, "fc2": model.fc2}
    found = {}
    hooks = [
        part.register_forward_hook(lambda _, __, output, name=name: found.update({name: output[0].relu()}))
        for name, part in parts.items()
    ]
    try:
        with torch.inference_mode():
            model(torch.tensor(form)[None, None] / 255)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def layers(model, form):
    """The way of a digit through a myCNN, in eval mode, step by step, for people to look at.

    form: the picture in an answer of read_file. Returns for each step a dict: its "name", its "size", what it "does",
    both in words, and its "pictures", data: addresses of PNG files. Their pixels are the activations, one scale a
    layer: 255 is the largest. Of maps and units those with the highest mean are shown, maps sorted by it. Raises
    UserError where the form is none.
    """
    try:
        image = Image.open(io.BytesIO(base64.b64decode(form.removeprefix(DATA))), formats=["PNG"])
        if image.size != (28, 28) or image.mode != "L":
            raise ValueError
        digit = np.array(image)
    except (ValueError, OSError):
        raise UserError("This is no form of a digit") from None
    steps = [{"name": "Form", "size": "28×28 pixels", "does": DOES["form"], "pictures": [form]}]
    for name, found in activations(model, digit).items():
        is_maps, most = found.ndim == 3, MAX_MAPS if found.ndim == 3 else MAX_UNITS
        shown = found.reshape(len(found), -1).mean(1).topk(min(len(found), most)).indices
        count = f"{len(shown)} of {len(found)}" if len(shown) < len(found) else len(found)
        largest = max(found.max().item(), 1e-9)
        size = (
            f"{count} maps of {found.shape[1]}×{found.shape[2]}, the highest mean first"
            if is_maps
            else f"{count} units"
        )
        values = (found[shown if is_maps else shown.sort().values] * 255 / largest).round().byte().numpy()
        pictures = [_png(grey, PALETTE) for grey in (values if is_maps else [_strip(values)])]
        steps.append(
            {"name": name, "size": size, "does": f"{DOES[name]} White is {largest:.1f}.", "pictures": pictures}
        )
    return steps


def _strip(values):
    """uint8 [N] as a picture about 16 times as wide as it is high, filled up with zeros."""
    width = math.ceil(math.sqrt(16 * len(values)))
    return np.pad(values, (0, -len(values) % width)).reshape(-1, width)


def _png(grey, palette=None):
    """A picture, uint8 [height, width], as a data: address; a palette gives its values other colours."""
    image, file = Image.fromarray(grey), io.BytesIO()
    if palette:
        image.putpalette(palette)
    image.save(file, "PNG")
    return DATA + base64.b64encode(file.getvalue()).decode()
