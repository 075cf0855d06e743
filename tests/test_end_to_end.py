"""The scripts as real processes, as a user runs them."""

import csv
import shutil

import numpy as np
from conftest import NARROW, copy_project, start
from PIL import Image

from handwriting import SMALL


def run(folder, *command):
    """Run Python with a command in a folder: (exit code, standard output's lines, standard error)."""
    process = start(folder, *command)
    out, err = process.communicate()
    return process.returncode, out.splitlines(), err


def test_train_py_trains_and_test_py_then_prints_its_accuracy(tmp_path):
    copy_project(tmp_path)
    path = tmp_path / "train.py"
    constants = f"DIM_HIDDEN, EPOCHS, BATCH_SIZE, LEARNING_RATE = {NARROW}, 1, 1000, 0.01\n"
    path.write_text(path.read_text(encoding="utf-8").replace("ROOT =", f"{constants}ROOT =", 1), encoding="utf-8")
    code, lines, err = run(tmp_path, "train.py")
    assert (code, err) == (0, "")
    assert lines[0].startswith("starting checkpoints/run-001: epochs 0 to 0 on ")
    code, lines, err = run(tmp_path, "test.py")
    assert (code, err) == (0, "")
    starts = ["predicting ...", "epoch  0: ", "best accuracy: ", "pictures in "]
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
    assert float(lines[2].split()[2]) > 50


def test_before_any_training_test_py_reads_a_picture_and_leaves_out_one_that_is_missing(tmp_path, digits):
    copy_project(tmp_path)
    shutil.copytree(SMALL, tmp_path / "checkpoints" / "small")
    row = np.pad(np.concatenate(digits[0][:5], axis=1), 40)  # 7, 2, 1, 0, 4
    Image.fromarray(255 - row).resize((540, 324)).save(tmp_path / "digits.png")
    code, lines, err = run(tmp_path, "test.py", "nothere.png", "digits.png")
    assert code == 1
    assert [line.split("   ")[0] for line in lines] == ["digits.png: 72104"]
    assert err.splitlines()[:2] == [
        "reading with epoch 19 of checkpoints/small",
        "error: nothere.png is not an existing file: name a run or an image",
    ]
    with (tmp_path / "own_digits.csv").open(encoding="utf-8-sig", newline="") as table:
        assert [row["digit"] for row in csv.DictReader(table)] == list("72104")
    assert (tmp_path / "own_digits.png").exists()
