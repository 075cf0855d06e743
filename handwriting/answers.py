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
SCALE = 0.65  # pixels per unit: gives the pen the width that read_drawing expects
SMOOTH = 3  # a drawing is painted this many times larger, then scaled down, for smooth edges
MIN_SIDE = 8  # pixels: the smallest part that can be read
MAX_MAPS = 16  # feature maps shown of a convolution
STRIP = 16  # width / height of a linear layer's picture
DATA = "data:image/png;base64,"
DOES = {
    "image": "The digit's ink, cut out and centred as in MNIST: this is all that the network sees.",
    "conv1": "3×3 filters move over this image; then BatchNorm and ReLU.",
    "conv2": "2×2 max pooling halves these maps; then 3×3 filters over all of them, BatchNorm and ReLU.",
    "conv3": "2×2 max pooling again, then 3×3 filters, BatchNorm and ReLU.",
    "fc1": "Each unit is a weighted sum of all values of conv3; then ReLU.",
    "fc2": "Each unit is a weighted sum of all units of fc1; then ReLU.",
}


def answer_picture(file, part, model):
    """Read a picture, a binary file, or a part of it: "left,top,right,bottom", each from 0 to 1. Returns a dict:

    the picture's "width" and "height"; by how many degrees it was "turned"; "lines", from top to bottom, each with its
    "text" and its "numbers", lists of digits: the "box" in the picture [left, top, right, bottom], the "image" that the
    network saw, ten "probabilities", the "answer", its "confidence" and whether it is "unsure"; the "picture" that was
    read, for browsers that can't show the file; and "pages", the number of pages of the file, of which the first is
    read. Pictures are data: URLs. model: as for reader.read. Raises UserError.
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
    reading = read(np.ascontiguousarray(page.picture[top:bottom, left:right]), model)
    return _answer(reading, page.picture, left, top) | {"picture": _address(page.picture, "JPEG"), "pages": count}


def answer_drawing(strokes, model):
    """Read a drawing, given as strokes (see painted): the dict of answer_picture, without "picture" and "pages"."""
    picture = painted(strokes)
    return _answer(read_drawing(picture, model), picture)


def _answer(reading, picture, left=0, top=0):
    """The dict for the reading of a picture's part whose top left corner is at (left, top)."""

    def told(digit):
        box = np.add(digit.box, (left, top, left, top)).tolist()
        answer = {"answer": digit.answer, "confidence": digit.confidence, "unsure": digit.unsure}
        return {"box": box, "image": _address(digit.image), "probabilities": digit.probabilities.tolist()} | answer

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
    scale = SCALE * SMOOTH
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
def activations(model, image):
    """The activations of a myCNN, in eval mode, for a digit's image, uint8 [28, 28], after ReLU and before max pooling.

    A dict from "conv1", "conv2", "conv3", "fc1" and "fc2" to float tensors [maps, side, side] or [units].
    """
    outputs = {}

    def note(name):
        return lambda module, inputs, output: outputs.update({name: output[0].relu()})

    before_relu = {"conv1": model.bn1, "conv2": model.bn2, "conv3": model.bn3, "fc1": model.fc1, "fc2": model.fc2}
    hooks = [module.register_forward_hook(note(name)) for name, module in before_relu.items()]
    model(torch.tensor(image)[None, None] / 255)
    for hook in hooks:
        hook.remove()
    return outputs


def layers(model, image):
    """How a myCNN, in eval mode, reads a digit, layer by layer, as pictures for people to look at.

    image: a digit's "image" from answer_picture. Returns a dict for each step: its "name", its "size" and what it
    "does", both in words, and its "pictures", data: URLs of PNG files. Their pixels are the activations, scaled so that
    255 is the largest of the layer. Of the feature maps, those with the highest mean are shown, highest first; units
    are wrapped into a strip. Raises UserError if the image is not a PNG file.
    """
    try:
        digit = np.array(Image.open(io.BytesIO(base64.b64decode(image.removeprefix(DATA))), formats=["PNG"]))
    except (ValueError, OSError):
        raise UserError("This is not a digit's image") from None
    steps = [{"name": "Image", "size": "28×28 pixels", "does": DOES["image"], "pictures": [image]}]
    for name, output in activations(model, digit).items():
        largest = max(output.max().item(), 1e-9)
        values = (output * 255 / largest).round().byte().numpy()
        if output.ndim == 3:
            shown = values[output.mean((1, 2)).argsort(descending=True)[:MAX_MAPS].numpy()]
            size = f"{len(shown)} of {len(output)} maps of {output.shape[1]}×{output.shape[2]}, highest mean first"
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
