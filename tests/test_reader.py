"""Pictures such as people make, made here from MNIST's test digits, are read correctly."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import TRAINED
from PIL import Image

from benchmarks.handwriting import ROWS, measure, pages_of
from handwriting.lines import turned
from handwriting.photo import load_photo
from handwriting.reader import Digit, Line, read
from handwriting.training.pages import make_page
from Model import load_parameters

TEXT = ("words", "lines", "printed", "signs", "tables")  # rows of pages with more than digits on them
INPUTS = Path(__file__).parent / "inputs"


@pytest.fixture(scope="module")
def model():
    """The small network that comes with the program."""
    return load_parameters(TRAINED)


def text(reading):
    return [line.text.replace(" ", "") for line in reading.lines]


def test_a_digit_in_mnists_form_stays_as_it_is(digits, model):
    for digit in digits[0][:100]:
        [answer] = read(np.repeat(digit[..., None], 3, axis=2), model).digits
        assert np.array_equal(answer.image, digit)


def test_the_mean_confidence_in_mnists_digits_is_the_share_that_is_right(digits, model):
    answers = [read(np.repeat(digit[..., None], 3, axis=2), model).digits[0] for digit in digits[0][:500]]
    right = [answer.answer == label for answer, label in zip(answers, digits[1], strict=False)]
    assert np.mean([answer.confidence for answer in answers]) == pytest.approx(np.mean(right), abs=0.015)


@pytest.mark.parametrize(("has_text", "recall", "precision"), [(False, 0.84, 0.84), (True, 0.75, 0.75)])
def test_on_made_pages_of_every_kind_most_digits_are_read_and_little_else(digits, model, has_text, recall, precision):
    rows = [row for row in ROWS if row.startswith(TEXT) == has_text]
    pages = ((["all"], *page) for row in rows for page in pages_of(row, *digits, count=1, seed=2 + has_text))
    score = measure(pages, model)["all"]
    assert score.in_common / score.digits >= recall
    assert score.in_common / len(score.said) >= precision


def test_a_single_digit_is_read_at_any_size_on_light_and_dark(digits, model):
    right = 0
    for number in range(25):
        side = int(np.random.default_rng(number).integers(20, 400))
        image = Image.fromarray(np.pad(digits[0][number], 4)).resize((side, side), Image.Resampling.BICUBIC)
        picture = np.repeat(np.asarray(image)[..., None], 3, axis=2)
        right += text(read(picture if number % 2 else 255 - picture, model)) == [str(digits[1][number])]
    assert right >= 24


@pytest.mark.parametrize("angle", [0, 90, 180, 270, 40, 200])
def test_a_page_at_any_angle_is_read_and_its_boxes_lie_on_the_digits(source, model, angle):
    page = make_page(np.random.default_rng(2), source, (300, 400), {}, 30, ("line", 2.5))
    picture = turned(page.photo, angle)
    reading = read(picture, model)
    assert abs((reading.turned + angle + 180) % 360 - 180) <= 15
    middles = np.array([((d.box[1] + d.box[3]) / 2, (d.box[0] + d.box[2]) / 2) for d in page.digits])
    turn = np.deg2rad(angle)
    y, x = (middles - (150, 200)).T
    places = np.stack([np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y], 1)
    places += np.array(picture.shape[:2]) / 2
    boxes = np.array([d.box for d in reading.digits])
    distances = np.linalg.norm(places[:, None] - (boxes[:, 1::-1] + boxes[:, :1:-1]) / 2, axis=2).min(1)
    assert (distances < 6).mean() > 0.85


def test_a_slightly_tilted_page_is_not_turned_upside_down(source, model):
    for number, seed in enumerate((3, 4, 5)):
        page = make_page(np.random.default_rng(seed), source, (300, 400), {"coloured": 1}, 30)
        reading = read(turned(page.photo, 13 * (-1) ** number), model)
        assert abs((reading.turned + 180) % 360 - 180) <= 40


def test_a_box_is_the_bounding_box_of_the_digits_ink(source, model):
    page = make_page(np.random.default_rng(8), source, (300, 400), {"drawn": 1}, 40, ("line", 4))
    dark = page.photo.min(2) < 200
    for digit in read(page.photo, model).digits:
        left, top, right, bottom = np.rint(digit.box).astype(int)
        assert top >= 0 and left >= 0 and bottom <= 300 and right <= 400
        inner = dark[top : bottom + 1, left : right + 1]
        assert inner[:4].any() and inner[-4:].any() and inner[:, :4].any() and inner[:, -4:].any()


def test_paper_without_ink_has_no_digits(model):
    chance = np.random.default_rng(4)
    rows, columns = np.mgrid[:300, :400] / 400
    for paper in (np.ones((300, 400)), np.zeros((28, 28)), 0.5 + 0.4 * rows, 0.9 - 0.3 * rows * columns):
        for noise in (0, 0.02):
            grey = np.clip(paper + chance.normal(0, noise, paper.shape), 0, 1)
            picture = np.repeat(np.uint8(255 * grey)[..., None], 3, axis=2)
            assert read(picture, model).lines == []


def test_a_scribble_is_not_read_as_a_digit_with_confidence(model):
    sure = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        picture = np.full((300, 400, 3), 235, np.uint8)
        points = np.cumsum(rng.normal(0, 25, (40, 2)), 0) + (200, 150)
        cv2.polylines(picture, [np.int32(points)], False, (30, 30, 30), 5, cv2.LINE_AA)
        sure += any(digit.confidence > 0.8 for digit in read(picture, model).digits)
    assert sure <= 1


@pytest.mark.parametrize(
    ("name", "ones"), {"one_drawn": 1, "oneoneone_drawn": 3, "pencil_2": 1, "upstrokes": 5}.items()
)
def test_a_stroke_is_a_1_on_a_picture_too_with_a_long_upstroke_or_without(model, name, ones):
    assert "".join(text(read(load_photo(INPUTS / f"{name}.png", name), model))) == "1" * ones


def test_a_gap_wider_than_a_digit_separates_two_numbers():
    def digit(answer, left):
        return Digit((left, 0, left + 20, 30), np.zeros((28, 28), np.uint8), np.eye(10, dtype=np.float32)[answer])

    line = Line([digit(2, 0), digit(1, 25), digit(0, 75), digit(4, 98)])
    assert line.text == "21 04"
    assert [len(number) for number in line.numbers] == [2, 2]


def test_confidence_is_the_chance_that_it_is_a_digit_and_this_one(source, model):
    kinds = {"coloured": 0.5, "noise": 0.5, "printed": 0.4, "beside": 0.4, "signs": 0.3}
    said, true = [], []
    for seed in range(16):
        page = make_page(np.random.default_rng(seed), source, (300, 400), kinds)
        for digit in read(page.photo, model).digits:
            column, row = (digit.box[0] + digit.box[2]) / 2, (digit.box[1] + digit.box[3]) / 2
            own = [d.label for d in page.digits if d.box[1] < row < d.box[3] and d.box[0] < column < d.box[2]]
            said.append(digit.confidence)
            true.append(digit.answer in own)
            assert 0 <= digit.confidence <= 1 and digit.unsure == (digit.confidence < 0.5)
    assert abs(np.mean(said) - np.mean(true)) < 0.06
