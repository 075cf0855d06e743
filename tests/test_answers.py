"""The page shows each layer's activations as pictures."""

import base64
import io
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from handwriting.answers import DATA, layers
from Model import myCNN


@pytest.mark.parametrize("widths", [(32, 128, 512, 1024, 256), (4, 20, 3, 5000, 7)])
def test_the_pictures_of_each_layer_are_what_the_network_computes(test_digits, widths):
    torch.manual_seed(0)
    model, file = myCNN(widths).eval(), io.BytesIO()
    with torch.inference_mode():
        conv1 = model.bn1(model.conv1(test_digits[0][:1] / 255)).relu()
        conv2 = model.bn2(model.conv2(F.max_pool2d(conv1, 2))).relu()
        conv3 = model.bn3(model.conv3(F.max_pool2d(conv2, 2))).relu()
    Image.fromarray(test_digits[0][0, 0].numpy()).save(file, "PNG")
    steps = layers(model, DATA + base64.b64encode(file.getvalue()).decode())
    assert len(json.dumps(steps)) < 200_000
    for step, [maps] in zip(steps[1:4], (conv1, conv2, conv3), strict=True):
        order = maps.mean((1, 2)).argsort(descending=True)[:16]
        shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(p.removeprefix(DATA))))) for p in step["pictures"]]
        np.testing.assert_allclose(np.stack(shown), maps[order].numpy() * 255 / maps.max().item(), atol=0.51)
        assert step["size"].startswith(f"{min(16, len(maps))} of {len(maps)} maps of {maps.shape[1]}×")
