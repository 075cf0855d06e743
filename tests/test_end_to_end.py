"""The scripts as real processes, as a user runs them: each test goes on where the one before it ended."""

import pytest
from conftest import SMALL, Project

import test
from support.runs import epoch_files


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with a small network, two epochs and the first 6,000 digits."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.edit(DIM_HIDDEN=SMALL, EPOCHS=2, LEARNING_RATE=0.01)
    script = project.folder / "train.py"
    last = "    return images.to(device), labels.to(device)"
    assert last in (text := script.read_text(encoding="utf-8"))
    script.write_text(
        text.replace(last, f"    images, labels = images[:6000], labels[:6000]\n{last}"), encoding="utf-8"
    )
    return project


def test_a_training_runs_to_its_end(project):
    code, out, err = project.run("train.py")
    assert (code, err) == (0, "")
    assert out.startswith("training epochs ")
    assert list(epoch_files(project.folder / "checkpoints" / "run-001")) == [0, 1]


def test_test_py_tells_the_accuracy_of_each_epoch_and_the_best(project):
    code, out, err = project.run("test.py")
    assert (code, err) == (0, "")
    starts = ["predicting ...", "epoch  0: ", "epoch  1: ", "best accuracy: ", "pictures in "]
    assert all(line.startswith(start) for line, start in zip(out.splitlines(), starts, strict=True))
    assert float(out.splitlines()[3].split()[2]) > 85


def test_the_help_of_test_py_shows_each_use(capsys):
    with pytest.raises(SystemExit) as end:
        test.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(use in text for use in ("photo.png", "--draw", "checkpoints/run-001"))
