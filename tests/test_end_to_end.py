"""The scripts as real processes, as a user runs them."""

import re

import pytest


def test_one_epoch_of_a_small_network_reaches_95_percent(project):
    project.edit(DIM_HIDDEN=[8, 16, 32, 64, 32])
    code, out, err = project.run("train.py")
    assert (code, err) == (0, "")
    assert re.search(
        r"^training on (CPU|CUDA) .* in (float32|bfloat16): [\d,]+ parameters, saved in checkpoints/run-001$", out, re.M
    )
    assert re.search(r"^epoch 1/1: loss 0\.\d{4}, [\d.]+ s, [\d,]+ digits/s, 00:00 left$", out, re.M)
    code, out, err = project.run("test.py")
    assert (code, err) == (0, "")
    assert out.startswith("predicting ...")
    assert float(re.search(r"best accuracy: (\d+\.\d{4}) % \(epoch 0\)", out)[1]) > 95
    assert {"accuracy.csv", "report.png"} <= {path.name for path in (project.folder / "checkpoints/run-001").iterdir()}


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["test.py"], "no run in checkpoints yet"),
        (["test.py", "nowhere"], "nowhere is not there"),
        (["test.py", "a" * 300], "a is not there"),
        (["test.py", "run-001", "--fast"], "there is no option --fast"),
        (["train.py", "--epochs", "5"], "the settings are the constants at its top"),
    ],
)
def test_a_mistake_is_one_line_on_standard_error_and_exit_code_2(project, command, complaint):
    code, out, err = project.run(*command)
    assert (code, out) == (2, "")
    assert complaint in err
    assert err.count("\n") == 1


def test_a_mistaken_hyperparameter_is_one_line_on_standard_error_and_exit_code_2(project):
    project.edit(LEARNING_RATE=-1)
    code, out, err = project.run("train.py")
    assert (code, out) == (2, "")
    assert err == "error: LEARNING_RATE = -1 in train.py must be a number above 0, up to 1\n"
    assert not (project.folder / "checkpoints").exists()


def test_importing_a_script_runs_nothing(project):
    code, out, err = project.run("-c", "import train, test")
    assert (code, out, err) == (0, "", "")
    assert not (project.folder / "checkpoints").exists()
