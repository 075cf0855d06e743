"""Images named on the command line: a line for each line of digits, a table, and a picture; and the same by calls."""

import _thread
import csv
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handwriting import own_digits, read_picture, results
from handwriting.reader import Digit, Line, Reading
from handwriting.results import find_files, read_images
from support.errors import UserError

ROOT = Path(__file__).parent.parent
SURE, UNSURE = np.float32([[0.01] * 3 + [0.91] + [0.01] * 6, [0.48, 0.01, 0.01, 0.01, 0.01, 0.01, 0.41] + [0.01] * 3])
BOXES = [(20, 10, 100, 60), (20, 70, 100, 120), (1, 100, 40, 138)]


@pytest.fixture
def photos(test_digits, tmp_path):
    """A folder with three digits as images, and one that is blank."""
    for number, digit in enumerate(test_digits[0][:3, 0]):
        Image.fromarray(255 - digit.numpy()).resize((140, 140)).save(tmp_path / f"{number}.png")
    Image.new("L", (100, 100), 255).save(tmp_path / "empty.png")
    return tmp_path


@pytest.fixture
def always_three(monkeypatch):
    """The reader set to find on every picture but a blank one a line of a 3, a 3 and an unsure 0, and a line of a 3."""

    def read(picture, logits_of):
        if picture.min() == 255:
            return Reading([])
        digits = [
            Digit(box, np.zeros((28, 28), np.uint8), p) for box, p in zip(BOXES, (SURE, SURE, UNSURE), strict=True)
        ]
        return Reading([Line(digits), Line(digits[:1])], 90)

    monkeypatch.setattr(results, "read", read)


def test_every_number_is_printed_as_it_stands_and_what_is_unsure_behind_it_and_failures_one_by_one(
    photos, always_three, tmp_path, capsys
):
    (tmp_path / "text.txt").write_text("7")
    paths = [tmp_path / "text.txt", tmp_path / "missing.png", tmp_path / ("7" * 300), photos]
    assert read_images(paths, None, tmp_path) == 1
    out, err = capsys.readouterr()
    lines, told = out.splitlines(), err.splitlines()
    assert lines[0] == f"{photos / '0.png'}: 330   unsure: the 3rd, 0 (48 %, or 6 41 %)"
    assert lines[1] == f"{photos / '0.png'}: 3"
    assert len(lines) == 3 * 2
    assert told[0] == "1 file is no picture: text.txt"
    errors = [line for line in told if line.startswith("error: ")]
    for line, path in zip(errors, (*paths[:3], photos / "empty.png"), strict=True):
        assert str(path) in line
    assert f"{photos / '0.png'} was turned by 90° to be read" in told
    assert told[-2].startswith("saved ")
    assert told[-1] == "7 pictures: 12 digits, 3 of them unsure; 4 pictures without an answer"


def test_the_table_has_a_row_for_every_digit_with_its_box_in_the_picture_as_it_was_given(
    photos, always_three, tmp_path, capsys
):
    scan = Image.open(photos / "0.png").convert("L").resize((3200, 3200))
    scan.save(tmp_path / "scan ü.tif", save_all=True, append_images=[scan])
    read_images([tmp_path / "scan ü.tif"], None, tmp_path)
    assert f"{tmp_path / 'scan ü.tif'}:2: 3\n" in capsys.readouterr().out
    assert (tmp_path / "own_digits.csv").read_bytes().startswith(b"\xef\xbb\xbffile,")  # else Excel takes ü for Ã¼
    with (tmp_path / "own_digits.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    place = [f"{tmp_path / 'scan ü.tif'}:2", "2", "1", "3"]
    assert list(rows[6].values()) == [*place, "0", "0.4800", "6", "0.4100", "200.0", "2.0", "276.0", "80.0", "90"]


def test_folders_and_patterns_give_the_images_in_them_in_natural_order(photos, monkeypatch):
    inside = photos / "more"
    (inside / ".hidden").mkdir(parents=True)
    for name in ("10.JPG", "2.heic", "._2.png", ".hidden/3.png", "notes.txt", "own_digits.png"):
        (inside / name).touch()
    files = [photos / name for name in ("0.png", "1.png", "2.png", "empty.png", "more/2.heic", "more/10.JPG")]
    assert find_files([photos]) == (files, [inside / "notes.txt"])
    assert find_files([inside / ".hidden"]) == ([inside / ".hidden/3.png"], [])
    monkeypatch.chdir(photos)
    assert find_files([Path("[0-9].png"), Path("no*")]) == (
        [Path("0.png"), Path("1.png"), Path("2.png"), Path("no*")],
        [],
    )


def test_ctrl_c_is_heard_while_a_decoder_is_at_work(tmp_path, monkeypatch):
    decoded = []

    def pages(source, name):
        time.sleep(1)  # no signal comes, so that it sleeps on, as a decoder works on
        decoded.append(name)
        yield name, UserError("late"), 1

    monkeypatch.setattr(results, "pages", pages)
    threading.Timer(0.1, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        read_images([tmp_path / "slow.tif"], None, tmp_path)
    assert not decoded


def test_a_frame_and_the_answer_stand_at_every_digit_and_can_be_seen_on_dark_photos(photos, always_three, tmp_path):
    Image.new("L", (140, 140)).save(tmp_path / "0.png")
    assert read_images([photos / "0.png"], None, tmp_path) == 0
    picture = np.asarray(Image.open(tmp_path / "own_digits.png").convert("RGB")).astype(int)
    assert picture.shape[1] == own_digits.WIDTH
    for colour in (own_digits.SURE_COLOUR, own_digits.UNSURE_COLOUR):
        rows, columns = np.nonzero(np.abs(picture - colour).max(2) < 10)
        frame = (columns < 200) & (rows > 4 * own_digits.MARGIN)  # on the photo, which is at the left, below the texts
        assert frame.sum() > 100
        assert np.ptp(rows[frame]) > 50
        around = (picture[rows[frame] + step, columns[frame] + step].min(1) for step in (-1, 1))
        assert np.mean([pixels > 240 for pixels in around]) > 0.3


@pytest.mark.parametrize("name", ["$1$.png", "two $ signs $.png", "照片.png", "a" * 200 + ".png", "\udcff.png"])
def test_any_name_of_a_file_is_printed_and_drawn(photos, always_three, tmp_path, name):
    (tmp_path / "0.png").rename(tmp_path / name)
    assert read_images([tmp_path / name], None, tmp_path) == 0
    assert (tmp_path / "own_digits.png").exists()


def test_the_readmes_python_runs_as_it_stands(photos, monkeypatch, capsys):
    monkeypatch.chdir(photos)
    Image.open("0.png").save("photo.jpg")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    [reading] = (block for block in blocks if "import" in block)  # the others are constants of train.py
    exec(reading, {})
    assert capsys.readouterr().out.startswith("7 [[7]]\n[(7, 0.")


def test_a_picture_is_read_as_an_array_or_an_image_with_boxes_in_its_own_pixels(test_digits):
    seven = Image.fromarray(255 - test_digits[0][0, 0].numpy())
    boxes = []
    for picture in (seven.resize((140, 140)), np.asarray(seven.resize((2800, 2800)))):
        reading = read_picture(picture)
        assert [line.text for line in reading.lines] == ["7"]
        boxes.append(np.array(reading.digits[0].box))
    assert np.abs(boxes[0] * 20 - boxes[1]).max() < 200
