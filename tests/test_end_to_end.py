"""The two scripts as real processes, as a user runs them."""

from conftest import NARROW, copy_project, start


def test_train_py_trains_and_test_py_then_prints_its_accuracy(tmp_path):
    copy_project(tmp_path)
    path = tmp_path / "train.py"
    constants = f"DIM_HIDDEN, EPOCHS, BATCH_SIZE, LEARNING_RATE = {NARROW}, 1, 1000, 0.01\n"
    path.write_text(path.read_text(encoding="utf-8").replace("ROOT =", f"{constants}ROOT =", 1), encoding="utf-8")
    training = start(tmp_path, "train.py")
    out, err = training.communicate()
    assert (training.returncode, err) == (0, "")
    assert out.startswith("starting checkpoints/run-001: epochs 0 to 0 on ")
    testing = start(tmp_path, "test.py")
    out, err = testing.communicate()
    assert (testing.returncode, err) == (0, "")
    starts = ["predicting ...", "epoch  0: ", "best accuracy: ", "pictures in "]
    assert all(line.startswith(start) for line, start in zip(out.splitlines(), starts, strict=True))
    assert float(out.splitlines()[2].split()[2]) > 50
