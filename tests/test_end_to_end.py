"""The two scripts as real processes, as a user runs them."""

from conftest import SMALL, Project


def test_train_py_trains_and_test_py_then_tells_the_accuracy_of_each_epoch_and_the_best(tmp_path):
    project = Project(tmp_path)
    project.edit(DIM_HIDDEN=SMALL, EPOCHS=2, LEARNING_RATE=0.01)
    script = project.folder / "train.py"
    text, last = script.read_text(encoding="utf-8"), "return images.to(device), labels.to(device)"
    assert last in text
    few = last.replace("images", "images[:3000]").replace("labels", "labels[:3000]")
    script.write_text(text.replace(last, few), encoding="utf-8")
    code, out, err = project.run("train.py")
    assert (code, err) == (0, "")
    starts = ["training epochs 0 to 1 on ", "epoch  0: loss ", "epoch  1: loss "]
    assert all(line.startswith(start) for line, start in zip(out.splitlines(), starts, strict=True))
    code, out, err = project.run("test.py")
    assert (code, err) == (0, "")
    starts = ["predicting ...", "epoch  0: ", "epoch  1: ", "best accuracy: ", "pictures in "]
    assert all(line.startswith(start) for line, start in zip(out.splitlines(), starts, strict=True))
    assert float(out.splitlines()[3].split()[2]) > 50
