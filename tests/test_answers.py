"""What is drawn on the page is read by its strokes, at every size and with every pen."""

from urllib.request import urlopen

import numpy as np
import pytest
from conftest import TRAINED
from PIL import Image
from scipy import ndimage
from strokes import strokes_of

from handwriting.answers import answer_drawing
from Model import load_parameters
from support.errors import UserError


@pytest.fixture(scope="module")
def model():
    """The small network that comes with the program."""
    return load_parameters(TRAINED)


def arc(x, y, across, down, start, end):
    """A piece of an ellipse, from one angle to another, in degrees clockwise from the right."""
    angles = np.deg2rad(np.linspace(start, end, 40))
    return [(x + across * np.cos(angle), y + down * np.sin(angle)) for angle in angles]


DIGITS = {  # strokes in a unit square
    "0": [arc(0.5, 0.5, 0.33, 0.48, -90, 270)],
    "1": [[(0.08, 0.62), (0.58, 0.03), (0.58, 0.98)]],
    "1 with a foot": [[(0.3, 0.25), (0.52, 0.03), (0.52, 0.97)], [(0.25, 0.97), (0.8, 0.97)]],
    "3": [arc(0.45, 0.26, 0.3, 0.25, -150, 90) + arc(0.45, 0.74, 0.34, 0.25, -90, 150)],
    "4": [[(0.65, 0.98), (0.65, 0.03), (0.1, 0.66), (0.92, 0.66)]],
    "4 in two strokes": [[(0.2, 0.05), (0.15, 0.55), (0.85, 0.55)], [(0.7, 0.2), (0.66, 0.98)]],
    "5 with a loose bar": [
        [(0.35, 0.16), (0.28, 0.45), *arc(0.45, 0.68, 0.33, 0.3, -110, 140)],
        [(0.3, 0.03), (0.85, 0.03)],
    ],
    "7 with a bar": [[(0.12, 0.05), (0.86, 0.05), (0.38, 0.98)], [(0.3, 0.5), (0.85, 0.5)]],
}
SIGNS = {
    "+": [[(0.5, 0.1), (0.5, 0.9)], [(0.1, 0.5), (0.9, 0.5)]],
    "=": [[(0.1, 0.35), (0.9, 0.35)], [(0.1, 0.65), (0.9, 0.65)]],
    "A": [[(0.1, 0.97), (0.5, 0.03), (0.9, 0.97)], [(0.25, 0.62), (0.75, 0.62)]],
    "X": [[(0.1, 0.03), (0.9, 0.97)], [(0.9, 0.03), (0.1, 0.97)]],
    "Y": [[(0.1, 0.03), (0.5, 0.5)], [(0.9, 0.03), (0.5, 0.5), (0.5, 0.97)]],
    "square": [[(0.08, 0.08), (0.92, 0.08), (0.92, 0.92), (0.08, 0.92), (0.08, 0.08)]],
    "star": [[(0.2, 0.97), (0.5, 0.03), (0.8, 0.97), (0.03, 0.37), (0.97, 0.37), (0.2, 0.97)]],
} | {f"scribble {seed}": [np.random.default_rng(seed).random((14, 2)).tolist()] for seed in range(5)}


def put(strokes, height, x=400, y=300, shape=0.6):
    """Strokes of a unit square on the sheet: of this height, around (x, y), and `shape` times as wide."""
    return [[(x + (a - 0.5) * height * shape, y + (b - 0.5) * height) for a, b in stroke] for stroke in strokes]


def leaning(tilt, x=400, y=300, height=200):
    return [
        [
            (x - height / 2 * np.tan(np.deg2rad(tilt)), y + height / 2),
            (x + height / 2 * np.tan(np.deg2rad(tilt)), y - height / 2),
        ]
    ]


def lines(strokes, model, pen=28):
    return [line["text"] for line in answer_drawing(strokes, pen, model)["lines"]]


@pytest.mark.parametrize("name", DIGITS)
def test_a_digit_is_read_at_every_size_with_every_pen(model, name):
    for height, pen in ((50, 28), (60, 42), (90, 14), (240, 28), (450, 28), (540, 42)):
        assert lines(put(DIGITS[name], height), model, pen) == [name[0]], (height, pen)


def test_drawn_digits_are_read_where_they_are(model, digits):
    right = 0
    for number, (digit, label) in enumerate(zip(digits[0][:50], digits[1][:50], strict=True)):
        left, top, scale = np.random.default_rng(number).uniform((0, 0, 3), (300, 120, 17))
        strokes = [[(left + scale * x, top + scale * y) for x, y in stroke] for stroke in strokes_of(digit)]
        answer = answer_drawing(strokes, "20", model)
        if [line["text"] for line in answer["lines"]] == [str(label)]:
            right += 1
            points = np.concatenate(strokes)
            [[[found]]] = [line["numbers"] for line in answer["lines"]]
            assert found["box"] == pytest.approx([*(points.min(0) - 10), *(points.max(0) + 10)], abs=1)
    assert right >= 47


def test_only_a_digits_own_strokes_are_in_its_image(model):
    places = {"3": 90, "+": 240, "4": 390, "=": 540, "7 with a bar": 690}
    strokes = [stroke for name, x in places.items() for stroke in put((DIGITS | SIGNS)[name], 150, x, shape=0.8)]
    [line] = answer_drawing(strokes, 28, model)["lines"]
    assert line["text"].replace(" ", "") == "347"
    images = [digit["image"] for number in line["numbers"] for digit in number]
    for name, image in zip(("3", "4", "7 with a bar"), images, strict=True):
        alone = answer_drawing(put(DIGITS[name], 300, shape=0.8), 14, model)
        [[[digit]]] = [line["numbers"] for line in alone["lines"]]
        found, expected = (np.asarray(Image.open(urlopen(address))) for address in (image, digit["image"]))
        assert found[ndimage.maximum_filter(expected, 3) == 0].sum() == 0


def test_digits_that_touch_are_read_apart(model):
    for left, right in ("77", "10", "04", "35"):
        names = [next(name for name in DIGITS if name[0] == digit) for digit in (left, right)]
        strokes = [put(DIGITS[name], 200, 300) for name in names]
        edge, start = (
            max(x for stroke in strokes[0] for x, _ in stroke),
            min(x for stroke in strokes[1] for x, _ in stroke),
        )
        moved = [[(x + edge - start, y) for x, y in stroke] for stroke in strokes[1]]
        assert lines(strokes[0] + moved, model) == [left + right]


def test_a_straight_stroke_is_a_1_or_a_slash_by_how_it_leans_and_where_it_stands(model):
    for height in (60, 300, 540):
        for tilt in (0, 10, -20, 30, 34):
            assert lines(leaning(tilt, height=height), model) == ["1"]
        for tilt in (40, -50, 90):
            assert (
                lines(leaning(tilt, height=min(height, 200)) if tilt < 90 else [[(200, 300), (500, 300)]], model) == []
            )
    three, four = put(DIGITS["3"], 200, 200), put(DIGITS["4"], 200, 600)
    for tilt in (5, 15, 25, 33):
        assert lines(three + leaning(tilt, 400), model) == ["31"]
        assert lines(leaning(tilt, 400) + four, model) == ["14"]
        assert lines(three + leaning(tilt, 400) + four, model) == ["314" if tilt < 20 else "3 4"]
        assert lines(leaning(tilt, 300) + leaning(tilt, 400) + leaning(tilt, 500), model) == ["111"]


def test_what_is_no_digit_is_left_out_or_marked_as_unsure_also_beside_digits(model):
    sure = 0
    for strokes in SIGNS.values():
        for height in (120, 300, 480):
            answer = answer_drawing(put(strokes, height, shape=0.8), 28, model)
            sure += any(
                not digit["unsure"] for line in answer["lines"] for number in line["numbers"] for digit in number
            )
    assert sure <= 0.1 * 3 * len(SIGNS)
    assert lines(put(SIGNS["X"], 200, 200, shape=0.8) + put(DIGITS["3"], 200, 500), model) == ["3"]
    assert lines([], model) == lines([[(400, 300)]], model) == []


@pytest.mark.parametrize("strokes", [5, None, {"a": 1}, [5], [[]], [[["a", 1]]], [[[1, 2, 3]]], [[[1, 2]]] * 1001])
def test_anything_but_strokes_is_refused(model, strokes):
    with pytest.raises(UserError):
        answer_drawing(strokes, 28, model)
    with pytest.raises(UserError):
        answer_drawing([[[1, 2]]], "nan", model)
