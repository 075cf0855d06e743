"""The page shows what the network computes, and how: every sum adds up to the last digit that is printed."""

import base64
import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from handwriting.layers import DATA, address_of, computation, layers
from Model import myCNN
from support.device import predict
from support.errors import UserError


@pytest.fixture(params=[(32, 128, 512, 1024, 256), (4, 20, 3, 500, 7)], ids=["full", "odd"])
def network(request, test_digits):
    """A network of random weights that has seen digits, in eval mode."""
    torch.manual_seed(0)
    model = myCNN(request.param)
    with torch.inference_mode():
        for _ in range(3):
            model(test_digits[0][:32] / 255)
    return model.eval()


def test_each_step_is_what_the_network_computes(network, test_digits):
    with torch.inference_mode():
        conv1 = network.bn1(network.conv1(test_digits[0][:1] / 255)).relu()
        conv2 = network.bn2(network.conv2(F.max_pool2d(conv1, 2))).relu()
    image, *steps, last = layers(network, address_of(test_digits[0][0, 0].numpy()))
    assert [step["name"] for step in steps] == "conv1 pool1 conv2 pool2 conv3 fc1 fc2".split()
    for step, [maps] in zip(steps[:4], (conv1, F.max_pool2d(conv1, 2), conv2, F.max_pool2d(conv2, 2)), strict=True):
        shown = [map["number"] for map in step["maps"]]
        if step["name"].startswith("conv"):
            assert shown == maps.mean((1, 2)).argsort(descending=True)[:16].tolist()
        pictures = [base64.b64decode(map["picture"].removeprefix(DATA)) for map in step["maps"]]
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(picture))) for picture in pictures])
        np.testing.assert_allclose(pixels, maps[shown].numpy() * 255 / maps.max().item(), atol=0.51)
        assert step["size"] == f"{len(maps)} maps, {maps.shape[1]}×{maps.shape[2]}"
    logits = predict(network, test_digits[0][:1])[0]
    np.testing.assert_allclose(last["logits"], logits, atol=0.000501)
    np.testing.assert_allclose(last["softmax"], logits.softmax(0), atol=1e-6)


def test_the_terms_that_are_shown_add_up_to_every_value_to_the_last_digit(network, test_digits):
    address = address_of(test_digits[0][3, 0].numpy())
    steps = layers(network, address)
    whole = lambda number: round(1000 * number)  # noqa: E731
    for step in steps:
        for map in step["maps"][:5] or [{"number": number, "values": 1, "peak": 0} for number in (0, 9)]:
            for cell in {0, map["values"] - 1, map["peak"]}:  # at the border, the window has zeros around the map
                found = computation(network, address, step["name"], str(map["number"] * map["values"] + cell))
                value = found["value"]
                if "window" in found:
                    assert whole(np.max(found["window"])) == whole(value)
                if "terms" not in found:
                    continue
                for term in found["terms"]:
                    assert whole(term["sum"]) == sum(whole(product) for row in term["products"] for product in row)
                    np.testing.assert_allclose(
                        term["products"], np.multiply(term["inputs"], term["weights"]), atol=0.002
                    )
                terms = [*found["terms"], {"sum": found["rest"]}, {"sum": found["bias"]}]
                assert whole(found["sum"]) == sum(whole(term["sum"]) for term in terms)
                result = found.get("normalised", found["sum"])
                if "scale" in found:
                    assert abs(found["scaled"] - found["scale"] * found["sum"]) < 0.0015 + 0.0005 * abs(found["scale"])
                    assert whole(found["scaled"]) + whole(found["shift"]) == whole(result)
                assert value == (result if step["name"] == "fc3" else max(0, result))
    assert len(found["terms"]) + found["others"] == network.fc3.in_features


@pytest.mark.parametrize("address", ["data:image/png;base64,AAAA", address_of(np.zeros((29, 28), np.uint8))])
def test_what_is_not_a_digits_image_is_refused(network, address):
    with pytest.raises(UserError, match="not a digit's image"):
        layers(network, address)


@pytest.mark.parametrize(
    ("step", "index"), [("conv4", "0"), (None, "0"), ("fc3", "10"), ("fc3", "-1"), ("fc3", None), ("fc3", "9" * 30)]
)
def test_a_value_that_the_network_does_not_have_is_refused(network, step, index):
    with pytest.raises(UserError):
        computation(network, address_of(np.zeros((28, 28), np.uint8)), step, index)
