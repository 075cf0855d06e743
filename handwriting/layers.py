"""How the network comes to its answer, for people to look at: what each step makes of a digit, and each value's sum."""

import base64
import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from support.errors import UserError

MAX_MAPS = 16  # feature maps shown of a convolution
STRONGEST = 8  # inputs of a sum that are shown one by one
DECIMALS = 3  # to which numbers that are added up are rounded
DATA = "data:image/png;base64,"
DOES = {
    "image": "All that the network is given: the digit's ink alone, scaled and centred like the digits of MNIST.",
    "conv1": "Each map looks for one small pattern, such as an edge, in 3×3 pixels; ReLU turns all that is below 0 "
    "into 0, which is black, and a map whose shift is above 0 is bright on blank paper too.",
    "pool1": "Of each 2×2 square only the largest value is kept: three quarters of the numbers are thrown away, and "
    "with them where exactly a pattern was, so it matters less if a digit lies a pixel further to the left.",
    "conv2": "Each map adds up what it finds in every map before it: patterns of patterns, such as corners and ends of "
    "strokes; ReLU leaves only the places where there is more of it than usual.",
    "pool2": "Again the largest of each 2×2 square: compare each map with the one it comes from to see what is lost.",
    "conv3": "Each value depends on 18×18 pixels of the image: look for maps that are bright in one place only, which "
    "have found a part of this digit, such as a loop or the end of a stroke.",
    "fc1": "Each unit has a weight for every value of conv3, so it knows which parts there are, and where; after ReLU "
    "only some units are on: other digits turn on others.",
    "fc2": "The same with the units of fc1: write this digit in another way, and many of the same units light up.",
    "fc3": "One sum for each digit, its logit; softmax turns the ten logits into shares of 100 %: the share of a logit "
    "that is larger by 1 is 2.7 times as large.",
}


@torch.inference_mode()
def activations(model, image):
    """What each step of a myCNN, in eval mode, makes of a digit, uint8 [28, 28]: a dict of float tensors, in order.

    "image", "conv1", "pool1", "conv2", "pool2" and "conv3" are [maps, side, side], "fc1", "fc2" and "fc3" [units]: all
    after ReLU, except for fc3's, which are the logits.
    """
    x = torch.tensor(image)[None] / 255
    found = {"image": x}
    for number in (1, 2, 3):
        found[f"conv{number}"] = x = _sums(model, f"conv{number}", x)[-1].relu()
        if number < 3:
            found[f"pool{number}"] = x = F.max_pool2d(x, 2)
    for name in ("fc1", "fc2"):
        found[name] = x = _sums(model, name, x)[-1].relu()
    return found | {"fc3": _sums(model, "fc3", x)[-1]}


def _sums(model, name, x):
    """A layer's sums for its input x; of a convolution, also what BatchNorm makes of them."""
    layer = getattr(model, name)
    if name.startswith("fc"):
        return [layer(x.flatten())]
    sums = layer(x[None])
    return [sums[0], getattr(model, f"bn{name[-1]}")(sums)[0]]


def layers(model, address):
    """How a myCNN, in eval mode, reads a digit, step by step.

    address: the digit's "image" from answers.answer_picture. Returns a list of dicts: a step's "name", its "size" and
    what it "does", in words, and the "largest" of its values; its "maps", each with its "number", its "picture", the
    data: URL of a PNG file in which 255 is the largest value, the picture's "height" and "width", how many "values" it
    has and the index of its "peak". Of a convolution, the maps with the highest mean are given, highest first; units
    are wrapped into one map. fc3 has its ten "logits" and their "softmax" instead. Raises UserError if the address is
    no digit's.
    """
    steps = []
    for name, values in activations(model, _image(address)).items():
        step = {"name": name, "does": DOES[name], "largest": values.max().item(), "maps": []}
        steps.append(step)
        if name == "fc3":
            logits = [round(logit, DECIMALS) for logit in values.tolist()]
            step |= {"size": f"{len(values)} units", "logits": logits, "softmax": values.softmax(0).tolist()}
            continue
        grey = (values * 255 / max(step["largest"], 1e-9)).round().byte().numpy()
        if values.ndim == 1:
            step["size"], numbers, values = f"{len(values)} units", [0], values[None]
            width = 2 ** math.ceil(math.log2(values.numel()) / 2)
            grey = np.pad(grey, (0, -len(grey) % width)).reshape(1, -1, width)
        else:
            if not name.startswith("pool"):  # which shows the same maps as the step before
                numbers = values.mean((1, 2)).argsort(descending=True)[:MAX_MAPS].tolist()
            step["size"] = f"{len(values)} maps, {values.shape[1]}×{values.shape[2]}".removeprefix("1 maps, ")
        for number in numbers:
            shape = {"values": values[number].numel(), "height": grey.shape[1], "width": grey.shape[2]}
            peak = values[number].argmax().item()
            step["maps"].append({"number": number, "picture": address_of(grey[number]), "peak": peak} | shape)
    return steps


@torch.inference_mode()
def computation(model, address, name, index):
    """How a myCNN, in eval mode, comes to one value of a step: a sum whose terms, as rounded here, add up to it.

    address: as for layers; name: the step's; index: a string, of the value among all the step's values. Returns a dict:
    its "name" and its "value"; of pooling, the "map" and the "window", [2][2], it comes from; of a layer, the STRONGEST
    "terms", each with its "name", its "map", its "inputs", "weights" and "products", [3][3] or [1][1], and their "sum";
    how many "others" there are and their "rest"; the "bias", and the "sum" of all. BatchNorm's "scale" times the sum is
    "scaled", and this plus its "shift" is "normalised". Raises UserError if there is no such value.
    """
    found = activations(model, _image(address))
    try:
        values = found[name]
        number, *place = np.unravel_index(int(index), values.shape)
    except (KeyError, TypeError, ValueError):
        raise UserError("The network has no such value") from None
    answer = {"name": _name(name, number, *place), "value": round(values[(number, *place)].item(), DECIMALS)}
    if name == "image":
        return answer
    before = list(found)[list(found).index(name) - 1]
    inputs = found[before]
    if name.startswith("pool"):
        row, column = (2 * side for side in place)
        return answer | {"map": int(number), "window": inputs[number, row : row + 2, column : column + 2].tolist()}
    layer, totals = getattr(model, name), [sums[(number, *place)].item() for sums in _sums(model, name, inputs)]
    if place:  # a convolution's inputs are whole maps, each with a window of 3×3
        row, column = place
        sources = [(source,) for source in range(len(inputs))]
        windows, weights = F.pad(inputs, (1, 1, 1, 1))[:, row : row + 3, column : column + 3], layer.weight[number]
    else:
        sources = list(np.ndindex(*inputs.shape))
        windows, weights = inputs.reshape(-1, 1, 1), layer.weight[number].reshape(-1, 1, 1)
    products = windows.double() * weights
    amounts = products.sum((1, 2))
    strongest, others = amounts.abs().argsort(descending=True).tensor_split([STRONGEST])
    parts = [layer.bias[number].item(), *amounts[strongest].tolist(), amounts[others].sum().item()]
    bias, *sums, rest = _fitted(parts, totals[0])
    terms = []
    for which, total in zip(strongest.tolist(), sums, strict=True):
        fitted = np.reshape(_fitted(products[which].flatten().tolist(), total), products[which].shape)
        term = {
            "name": _name(before, *sources[which]),
            "map": sources[which][0] if inputs.ndim == 3 else 0,
            "sum": total,
        }
        factors = {"inputs": windows[which].tolist(), "weights": weights[which].tolist(), "products": fitted.tolist()}
        terms.append(term | factors)
    answer |= {"terms": terms, "others": len(others), "rest": rest, "bias": bias, "sum": round(totals[0], DECIMALS)}
    if place:
        norm = getattr(model, f"bn{name[-1]}")
        scale = (norm.weight[number] / (norm.running_var[number] + norm.eps).sqrt()).item()
        shift = (norm.bias[number] - norm.running_mean[number] * scale).item()
        scaled, shift = _fitted([scale * totals[0], shift], totals[1])
        answer |= {"scale": scale, "scaled": scaled, "shift": shift, "normalised": round(totals[1], DECIMALS)}
    return answer


def _fitted(terms, total):
    """Terms, rounded up or down so that they add up to their rounded total: those with the largest remainders go up."""
    exact = np.array(terms) * 10**DECIMALS
    whole = np.floor(exact)
    missing = max(0, round(round(total, DECIMALS) * 10**DECIMALS - whole.sum()))
    whole[np.argsort(whole - exact, kind="stable")[:missing]] += 1
    return (whole / 10**DECIMALS).tolist()


def _name(step, number, *place):
    """What a map, a value in it or a unit is called."""
    words = [step] if step == "image" else [step, f"{'unit' if step.startswith('fc') else 'map'} {number}"]
    return ", ".join(words + [f"{word} {index}" for word, index in zip(("row", "column"), place, strict=False)])


def _image(address):
    """The digit, uint8 [28, 28], whose data: URL this is."""
    try:
        image = np.array(Image.open(io.BytesIO(base64.b64decode(address.removeprefix(DATA))), formats=["PNG"]))
    except (ValueError, OSError):
        image = np.empty(0)
    if image.shape != (28, 28) or image.dtype != np.uint8:
        raise UserError("This is not a digit's image")
    return image


def address_of(picture, kind="PNG"):
    """A picture, uint8 [height, width] or [height, width, 3], as a data: URL."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
