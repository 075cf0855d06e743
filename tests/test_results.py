"""Images named on the command line: a line for each line of digits, a table and a picture; and reading from Python."""

import _thread
import csv
import re
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import copy_project, has_pgrep, renderers, renderers_end, start
from PIL import Image

from handwriting import SMALL, read_file, read_picture, results
from handwriting.reader import Digit, Line, Reading
from handwriting.results import find_files, read_images
from support.errors import UserError

ROOT, INPUTS = Path(__file__).parent.parent, Path(__file__).parent / "inputs"
SURE, UNSURE = np.float32([[0.01] * 3 + [0.91] + [0.01] * 6, [0.48, 0.01, 0.01, 0.01, 0.01, 0.01, 0.41] + [0.01] * 3])
BOXES = [(10, 20, 60, 100), (70, 20, 120, 100), (100, 1, 138, 40)]


@pytest.fixture
def photos(test_digits, tmp_path, monkeypatch):
    """A folder with three images of digits, and a blank one.

    The reader is replaced: in every picture but a blank one it finds a line of 3, 3 and an unsure 0, and a line of 3.
    """
    for number, digit in enumerate(test_digits[0][:3, 0]):
        Image.fromarray(255 - digit.numpy()).resize((140, 140)).save(tmp_path / f"{number}.png")
    Image.new("L", (100, 100), 255).save(tmp_path / "empty.png")
    digits = [Digit(box, None, chances) for box, chances in zip(BOXES, (SURE, SURE, UNSURE), strict=True)]
    lines = [Line(digits), Line(digits[:1])]
    monkeypatch.setattr(results, "read", lambda picture, _: Reading(lines if picture.min() < 255 else [], 90))
    return tmp_path


def test_each_line_of_numbers_is_printed_with_its_unsure_digits_and_each_failure(photos, capsys):
    (photos / "text.txt").write_text("7")
    paths = [photos / "text.txt", photos / "missing.png", photos / ("7" * 300), photos]
    assert read_images(paths, None, photos) == 1
    out, err = capsys.readouterr()
    lines, told = out.splitlines(), err.splitlines()
    assert lines[0] == f"{photos / '0.png'}: 330   unsure: the 3rd, 0 (48 %, or 6 41 %)"
    assert lines[1] == f"{photos / '0.png'}: 3"
    assert len(lines) == 3 * 2
    assert told[0] == "1 file is not a picture: text.txt"
    errors = [line for line in told if line.startswith("error: ")]
    assert all(str(path) in line for path, line in zip([*paths[:3], photos / "empty.png"], errors, strict=True))
    assert f"{photos / '0.png'} was turned by 90° to be read" in told
    assert told[-1] == "7 pictures: 12 digits, 3 unsure; 4 failed"


def test_the_table_has_a_row_for_every_digit_with_its_box_in_the_original_picture(photos, capsys):
    scan = Image.open(photos / "0.png").convert("L").resize((3200, 3200))
    path = photos / "照片 \udcff.tif"  # any name is printed and drawn
    scan.save(path, save_all=True, append_images=[scan])
    read_images([path], None, photos)
    name = str(path).replace("\udcff", "\\udcff")
    assert f"{name}:2: 3\n" in capsys.readouterr().out
    table = (photos / "own_digits.csv").read_bytes()
    assert table.startswith(b"\xef\xbb\xbffile,page,line,position,digit,")  # by this mark Excel recognises UTF-8
    rows = list(csv.reader(table.decode().splitlines()))
    assert len(rows) == 1 + 8
    place = [f"{name}:2", "2", "1", "3"]
    assert rows[7] == [*place, "0", "0.4800", "6", "0.4100", "200.0", "2.0", "276.0", "80.0", "90"]


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


def test_ctrl_c_works_while_a_decoder_is_running(tmp_path, monkeypatch):
    decoded = []

    def pages(source, name):
        time.sleep(1)  # not interrupted by the signal, like a decoder
        decoded.append(name)
        yield name, UserError("late"), 1

    monkeypatch.setattr(results, "pages", pages)
    threading.Timer(0.1, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        read_images([tmp_path / "slow.tif"], None, tmp_path)
    assert not decoded


def test_the_readmes_python_runs_as_it_stands(photos, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    [reading] = (block for block in blocks if "import" in block)  # the others are constants of train.py
    exec(reading.replace("photo.jpg", (photos / "0.png").as_posix()), {})
    first, second, last = capsys.readouterr().out.splitlines()
    assert (first, second[:6], last) == ("7 [[7]]", "[(7, 0", "tensor([7])")


def test_python_code_reads_a_file_an_image_or_an_array_with_boxes_in_its_own_pixels(test_digits, tmp_path):
    wide = Image.new("L", (3600, 420), "white")  # a JPEG that is decoded at half of its size
    wide.paste(Image.fromarray(255 - test_digits[0][0, 0].numpy()).resize((420, 420)))
    wide.save(tmp_path / "7.jpg")
    [page] = read_file(str(tmp_path / "7.jpg"))
    image = Image.open(tmp_path / "7.jpg")
    for reading in (page, read_picture(image), read_picture(np.asarray(wide))):
        [line] = reading.lines
        assert line.text == "7"
        assert np.abs(np.subtract(line.digits[0].box, (90, 105, 330, 405))).max() < 30
    assert image.size == wide.size  # as it was given


@pytest.fixture
def project(tmp_path, test_digits):
    """A copy of the project as it comes, with a picture of a 7."""
    copy_project(tmp_path)
    shutil.copytree(SMALL, tmp_path / "checkpoints" / "small")
    Image.fromarray(255 - test_digits[0][0, 0].numpy()).resize((140, 140)).save(tmp_path / "7.png")
    return tmp_path


def test_the_command_line_reads_what_it_can_and_says_what_it_left_out(project):
    process = start(project, "test.py", str(INPUTS / "nested_forms.pdf"), "missing.png", "7.png")
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "7.png: 7\n")
    reading, nested, missing, saved, summary = err.splitlines()
    assert reading == "reading with epoch 19 of checkpoints/small"
    assert nested.startswith(f"error: {INPUTS / 'nested_forms.pdf'} can't be rendered within 30 s and 1 GB of memory: ")
    assert missing.startswith("error: missing.png is not an existing file")
    assert saved == "saved own_digits.png and own_digits.csv"
    assert summary == "3 pictures: 1 digit, 0 unsure; 2 failed"


@has_pgrep
def test_sigterm_ends_the_command_line_at_once_and_with_it_the_process_that_renders_a_pdf(project):
    process = start(project, "test.py", str(INPUTS / "tiny_tiles.pdf"))
    while not renderers(project):
        time.sleep(0.05)
    process.terminate()
    assert process.communicate(timeout=60) == ("", "reading with epoch 19 of checkpoints/small\nstopped\n")
    assert process.returncode == 143
    assert renderers_end(project)
