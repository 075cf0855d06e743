"""Images named on the command line: a line for each line of digits, and own_digits.png."""

import numpy as np
import pytest
from PIL import Image

from handwriting import results
from handwriting.reader import Digit, Line, Reading
from handwriting.results import read_images

ANSWERS = np.float32([[0.01] * 3 + [0.91] + [0.01] * 6, [0.4, 0.3] + [0.3 / 8] * 8])


@pytest.fixture
def photos(test_digits, tmp_path):
    """A folder with three digits as images, and one that is blank."""
    for number, digit in enumerate(test_digits[0][:3, 0]):
        Image.fromarray(255 - digit.numpy()).resize((140, 140)).save(tmp_path / f"{number}.png")
    Image.new("L", (100, 100), 255).save(tmp_path / "empty.png")
    return tmp_path


@pytest.fixture
def always_three(monkeypatch):
    """The reader set to find on every picture but a blank one a line of a 3 and an unsure 0, and a line of a 3."""

    def read(picture, logits_of):
        if picture.min() == 255:
            return Reading([])
        form = np.zeros((28, 28), np.uint8)
        digits = [Digit(box, form, p) for box, p in zip([(20, 10, 100, 60), (20, 70, 100, 120)], ANSWERS, strict=True)]
        return Reading([Line(digits), Line(digits[:1])])

    monkeypatch.setattr(results, "read", read)


def test_every_line_is_printed_with_its_answers_and_runners_up_and_failures_one_by_one(
    photos, always_three, tmp_path, capsys
):
    (tmp_path / "text.txt").write_text("7")
    paths = [tmp_path / "text.txt", tmp_path / "missing.png", tmp_path / ("7" * 300), photos]
    assert read_images(paths, None, tmp_path) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"{photos / '0.png'}: 30   3 91.0% (or 9 1.0%), 0 40.0% (or 1 30.0%)"
    assert lines[1] == f"{photos / '0.png'}: 3   3 91.0% (or 9 1.0%)"
    assert len(lines) == 3 * 2 + 1
    told = err.splitlines()
    assert len(told) == 4
    for line, path in zip(told, (*paths[:3], photos / "empty.png"), strict=True):
        assert line.startswith("error: ")
        assert str(path) in line
    assert lines[-1].endswith("own_digits.png")


def test_a_frame_and_the_answer_stand_at_every_digit_on_the_photo(photos, always_three, tmp_path):
    assert read_images([photos / "0.png"], None, tmp_path) == 0
    picture = np.asarray(Image.open(tmp_path / "own_digits.png").convert("RGB")).astype(int)
    assert picture.shape[1] == results.WIDTH
    for colour in (results.SURE_COLOUR, results.UNSURE_COLOUR):
        rows, columns = np.nonzero(np.abs(picture - colour).max(2) < 10)
        frame = columns < 200  # on the photo, which is at the left
        assert frame.sum() > 200
        assert np.ptp(rows[frame]) > 80


def test_five_hundred_images_are_drawn_as_the_first_twenty(photos, always_three, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(results, "draw_own_digits", lambda path, read: drawn.extend(read))
    read_images([photos / "0.png"] * 500, None, tmp_path)
    assert len(drawn) == 20


@pytest.mark.parametrize("name", ["$1$.png", "two $ signs $.png", "照片.png", "a" * 200 + ".png"])
def test_any_name_of_a_file_is_drawn(photos, always_three, tmp_path, name):
    (tmp_path / "0.png").rename(tmp_path / name)
    assert read_images([tmp_path / name], None, tmp_path) == 0
    assert (tmp_path / "own_digits.png").exists()


def test_two_hundred_digits_on_a_page_are_drawn_large_enough_to_be_read(tmp_path, capsys):
    boxes = [
        (40 * row + 5, 40 * column + 5, 40 * row + 30, 40 * column + 25) for row in range(10) for column in range(20)
    ]
    digits = [Digit(box, np.zeros((28, 28), np.uint8), ANSWERS[0]) for box in boxes]
    picture = np.full((420, 820, 3), 255, np.uint8)
    results.draw_own_digits(tmp_path / "page.png", [("page", picture, Reading([Line(digits)]))])
    with Image.open(tmp_path / "page.png") as image:
        assert image.width == results.WIDTH
        assert image.height > 420 * 1.5 + 88 * 200 / 20
