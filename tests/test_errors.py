"""However a script is stopped and wherever its output goes: one line at most, and what it works on is whole."""

import os
import signal
import subprocess
import sys
import time

import pytest

from Model import load_parameters, myCNN, save_parameters
from support.runs import epoch_files


@pytest.fixture
def short_project(project):
    """A copy of the project that trains two epochs of 640 digits."""
    project.edit(EPOCHS=2)
    script = project.folder / "train.py"
    last = "    return images.to(device)"
    some = script.read_text().replace(last, f"    images, labels = images[:640], labels[:640]\n{last}")
    assert some != script.read_text()
    script.write_text(some)
    return project


def in_shell(project, command, **environment):
    """Run a shell's command in the project, `python` being this one: (exit code, standard output, standard error)."""
    command = command.replace("python", sys.executable)
    done = subprocess.run(
        ["bash", "-c", command], cwd=project.folder, env=os.environ | environment, capture_output=True, timeout=170
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    "command",
    [
        "python train.py > /dev/full",
        "python train.py 2> /dev/full",
        "python train.py > /dev/full 2> /dev/full",
        "python train.py >&-",
        "python train.py 2>&-",
        "python train.py <&- >&- 2>&-",
        "set -o pipefail; python train.py | true",
        "set -o pipefail; python train.py 2>&1 | head -1 | grep -o training",
    ],
)
def test_training_goes_on_where_nothing_can_be_printed(short_project, command):
    code, out, err = in_shell(short_project, command)
    assert (code, err) == (0, "")
    epochs = epoch_files(short_project.folder / "checkpoints" / "run-001")
    assert len(epochs) == 2
    for path in epochs.values():
        load_parameters(path)


def test_letters_that_the_output_lacks_are_no_reason_to_stop(short_project):
    folder = short_project.folder / "prüfung 数字"
    folder.mkdir()
    for name in ("Model.py", "train.py", "test.py", "support", "handwriting", "data"):
        (short_project.folder / name).rename(folder / name)
    code, out, err = in_shell(short_project, "python 'prüfung 数字/train.py'", PYTHONIOENCODING="ascii")
    assert (code, err) == (0, "")
    assert r"saved in pr\xfcfung \u6570\u5b57/checkpoints/run-001" in out
    code, out, err = in_shell(short_project, "python 'prüfung 数字/test.py'", PYTHONIOENCODING="ascii")
    assert (code, err) == (0, "")
    assert "best accuracy" in out


def test_a_lost_answer_of_test_py_is_said(short_project):
    folder = short_project.folder / "checkpoints" / "run-001"
    folder.mkdir(parents=True)
    save_parameters(myCNN([1, 2, 3, 4, 5]), folder / "epoch_00.npz")
    code, _, err = in_shell(short_project, "python test.py > /dev/full")
    assert code == 2
    assert err == "error: not all that was printed could be written ([Errno 28] No space left on device)\n"
    assert in_shell(short_project, "set -o pipefail; python test.py | true") == (0, "", "")
    assert (folder / "report.png").exists()


@pytest.mark.parametrize("arguments", ["--epochs 5", "--help", "-h", "5", "''"])
def test_train_py_refuses_arguments_in_a_line_that_says_where_the_settings_are(short_project, arguments):
    code, out, err = in_shell(short_project, f"python train.py {arguments}")
    assert (code, out) == (2, "")
    assert err == "error: train.py takes no arguments: the settings are the constants at its top\n"
    assert not (short_project.folder / "checkpoints").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("script", ["train.py", "test.py"])
def test_signals_at_any_time_one_or_several_give_one_line(short_project, script, number, times):
    short_project.edit(EPOCHS=200)
    if script == "test.py":
        folder = short_project.folder / "checkpoints" / "run-001"
        folder.mkdir(parents=True)
        for epoch in range(20):
            save_parameters(myCNN([1, 2, 3, 4, 5]), folder / f"epoch_{epoch:02d}.npz")
    for delay in (0.15, 0.4, 1.0, 1.8, 2.6, 3.4):
        process = short_project.start(script)
        time.sleep(delay)
        for _ in range(times):
            process.send_signal(number)
            time.sleep(0.003)
        _, err = process.communicate()
        if process.returncode == 0:  # it was done
            break
        assert process.returncode == 128 + number
        assert err.startswith("stopped")
        assert err.count("\n") == 1
