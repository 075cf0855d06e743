import shutil
from pathlib import Path

import pytest
import torch
from conftest import NARROW, TRAINED, copy_project, start

import test
from handwriting import SMALL
from handwriting.results import read_images
from Model import load_parameters, myCNN, save_parameters
from support.errors import UserError


def test_train_py_trains_and_test_py_then_prints_its_accuracy(tmp_path):
    copy_project(tmp_path)
    path = tmp_path / "train.py"
    constants = f"DIM_HIDDEN, EPOCHS, BATCH_SIZE, LEARNING_RATE = {NARROW}, 1, 1000, 0.01\n"
    path.write_text(path.read_text(encoding="utf-8").replace("ROOT =", f"{constants}ROOT =", 1), encoding="utf-8")
    lines = []
    for script in ("train.py", "test.py"):
        process = start(tmp_path, script)
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        lines += out.splitlines()
    starts = ["starting checkpoints/run-001: epochs 0 to 0 on ", "epoch  0: loss "]
    starts += ["predicting ... checkpoints/run-001", "epoch  0: ", "best accuracy: ", "pictures in "]
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
    assert float(lines[4].split()[2]) > 50


@pytest.fixture
def tested(monkeypatch, tmp_path, test_digits):
    """The folder of a run of two epochs, an untrained and a trained network; test.py tests on 200 digits."""
    images, labels = test_digits
    monkeypatch.setattr(test, "load_mnist", lambda train, device: (images[:200], labels[:200]))
    monkeypatch.setattr(test, "CHECKPOINTS_DIR", tmp_path)
    folder = tmp_path / "run-001"
    folder.mkdir()
    save_parameters(myCNN(NARROW), folder / "epoch_00.npz")
    shutil.copy(TRAINED, folder / "epoch_01.npz")
    (folder / "training_log.csv").write_text("epoch,loss,seconds\n0,0.5,1.0\n1,0.25,1.0\n")
    return folder


def test_the_accuracy_is_correct_over_total_as_computed_digit_by_digit(tested, capsys, test_digits):
    assert test.main() == 0
    accuracies = []
    for epoch in (0, 1):
        model = load_parameters(tested / f"epoch_{epoch:02d}.npz")
        answers = [model(image[None] / 255).argmax() for image in test_digits[0][:200]]
        accuracies.append(sum(map(torch.eq, answers, test_digits[1])).item() / 200 * 100)
    low, high = accuracies
    assert low < 30 < 97 < high
    lines = f"epoch  0: {low:.4f} %\nepoch  1: {high:.4f} %\nbest accuracy: {high:.4f} % (epoch 1)\n"
    assert lines in capsys.readouterr().out
    assert (tested / "accuracy.csv").read_text() == f"epoch,accuracy\n0,{low:.4f}\n1,{high:.4f}\n"


def test_a_damaged_epoch_is_named_and_the_others_are_tested(tested, capsys):
    damaged = tested / "epoch_00.npz"
    damaged.write_bytes(damaged.read_bytes()[:5000])
    assert test.main() == 1
    out, err = capsys.readouterr()
    assert "epoch_00.npz" in err
    assert err.count("\n") == 1
    assert out.splitlines()[1].startswith("epoch  1: ")


@pytest.mark.parametrize("content", ["", "epoch;loss;seconds\n0;0,5;1,0\n"])
def test_a_damaged_training_log_is_named_and_the_report_is_drawn_without_it(tested, capsys, content):
    (tested / "training_log.csv").write_text(content)
    assert test.main() == 0
    assert capsys.readouterr().err.endswith("training_log.csv is missing or damaged: report.png has no training loss\n")
    assert (tested / "report.png").exists()


@pytest.fixture
def clone(monkeypatch, tmp_path):
    """A clone whose run has no epoch; test.py doesn't read images, but returns where it would save the results."""
    shutil.copytree(SMALL, tmp_path / "checkpoints" / "small")
    (tmp_path / "checkpoints" / "run-001").mkdir()
    monkeypatch.setattr(test, "CHECKPOINTS_DIR", tmp_path / "checkpoints")
    monkeypatch.setattr(test, "SMALL", tmp_path / "checkpoints" / "small")
    monkeypatch.setattr(test, "read_images", lambda paths, model, folder: folder)
    monkeypatch.chdir(tmp_path)
    Path("7.png").touch()
    return tmp_path


def test_without_a_run_the_small_network_reads_and_is_recognised_by_its_path_not_its_name(clone, capsys):
    assert test.main(["7.png"]) == clone  # its own folder stays as it is
    assert test.main(["checkpoints/../checkpoints/small", "7.png"]) == clone
    assert capsys.readouterr().err.startswith("reading with epoch 19 of checkpoints/small\nreading with ")
    shutil.copytree("checkpoints/small", "mine/small")
    assert test.main(["mine/small", "7.png"]) == Path("mine/small")


def test_the_last_epoch_of_the_newest_run_reads_and_a_line_says_if_it_was_trained_for_fewer(clone, capsys):
    folder = clone / "checkpoints" / "run-001"
    for epoch in (0, 4):
        shutil.copy(TRAINED, folder / f"epoch_{epoch:02d}.npz")
    (folder / "accuracy.csv").write_text("epoch,accuracy\n0,99\n4,97\n")
    assert test.main(["7.png"]) == folder
    first, second = capsys.readouterr().err.splitlines()
    assert first == "reading with epoch 4 of checkpoints/run-001"
    assert second == "it was trained for fewer epochs than checkpoints/small, which may read better"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["checkpoints/small", "--fast"], "unrecognized arguments: --fast: see python .* --help"),
        (["checkpoints/small", "checkpoints/run-001"], "name at most one run"),
        (["checkpoints/run-001", "--draw", "7.png"], "no images with --draw"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(clone, arguments, complaint):
    with pytest.raises(UserError, match=complaint):
        test.main(arguments)


def test_of_a_missing_picture_nothing_is_said_but_that(clone, capsys, monkeypatch):
    monkeypatch.setattr(test, "read_images", read_images)
    assert test.main(["nothere.png"]) == 1
    assert capsys.readouterr().err == "error: nothere.png is not an existing file: name a run or an image\n"
