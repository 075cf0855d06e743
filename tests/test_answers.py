"""The answers to the page: each layer's activations as pictures, and drawings read."""

import base64
import io
import json
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from strokes import strokes_of

import train
from handwriting.answers import DATA, activations, layers, read_strokes
from Model import load_parameters, myCNN
from support.predicting import predict


@pytest.mark.parametrize("widths", [(32, 128, 512, 1024, 256), (4, 20, 3, 5000, 7)])
def test_the_pictures_of_each_layer_are_what_the_network_computes(test_digits, widths):
    digit = test_digits[0][0, 0].numpy()
    torch.manual_seed(0)
    model, inputs = myCNN(widths).eval(), {}
    for name in ("conv2", "conv3", "fc1", "fc2", "fc3"):
        getattr(model, name).register_forward_pre_hook(lambda _, args, name=name: inputs.update({name: args[0][0]}))
    with torch.inference_mode():
        model(test_digits[0][:1] / 255)
    seen, found = dict(inputs), activations(model, digit)
    for name in ("conv1", "conv2"):
        following = {"conv1": "conv2", "conv2": "conv3"}[name]
        torch.testing.assert_close(F.max_pool2d(found[name], 2), seen[following])
    torch.testing.assert_close(found["conv3"].flatten(), seen["fc1"])
    torch.testing.assert_close(found["fc1"], seen["fc2"])
    torch.testing.assert_close(found["fc2"], seen["fc3"])

    file = io.BytesIO()
    Image.fromarray(digit).save(file, "PNG")
    steps = layers(model, DATA + base64.b64encode(file.getvalue()).decode())
    assert len(json.dumps(steps)) < 200_000
    for step in steps[1:4]:
        maps = found[step["name"]]
        order = maps.mean((1, 2)).argsort(descending=True)[:16]
        shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(p.removeprefix(DATA))))) for p in step["pictures"]]
        np.testing.assert_allclose(np.stack(shown), maps[order].numpy() * 255 / maps.max().item(), atol=0.51)
        assert step["size"].startswith(f"{min(16, len(maps))} of {len(maps)} maps of {maps.shape[1]}×")


def test_49_of_50_digits_drawn_as_strokes_are_read_correctly(test_digits):
    logits_of = partial(predict, load_parameters(train.CHECKPOINTS_DIR / "small" / "epoch_19.npz"))
    right = 0
    for digit, label in zip(test_digits[0][:50, 0].numpy(), test_digits[1].tolist(), strict=False):
        strokes = [[(220 + 13 * x, 120 + 13 * y) for x, y in stroke] for stroke in strokes_of(digit)]
        right += [line["text"] for line in read_strokes(strokes, logits_of)["lines"]] == [str(label)]
    assert right >= 49
