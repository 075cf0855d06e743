"""Interrupted, resumed, damaged: whatever happens to a run, its finished epochs are safe."""

import os
import shutil
import sys
from unittest import mock

import pytest
import torch
from conftest import Mark, set_small, start
from filelock import FileLock

import train
from support.errors import UserError
from support.runs import epoch_files, last_epoch, newest_run


def parameters_of(folder):
    """The bytes of each saved epoch of a run."""
    return {epoch: path.read_bytes() for epoch, path in epoch_files(folder).items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, training_digits):
    """A folder with "whole", a run of four epochs, and "stopped", one that was stopped in epoch 2."""
    folder = tmp_path_factory.mktemp("trained")
    steps = [mock.DEFAULT] * (2 * 8 + 2) + [KeyboardInterrupt]
    with pytest.MonkeyPatch.context() as patch:
        set_small(patch, folder, training_digits, epochs=4)
        train.main()
        (folder / "run-001").rename(folder / "whole")
        patch.setattr(train, "train_step", mock.Mock(wraps=train.train_step, side_effect=steps))
        with pytest.raises(KeyboardInterrupt):
            train.main()
        (folder / "run-001").rename(folder / "stopped")
    return folder


@pytest.fixture
def stopped(small_training, trained, monkeypatch):
    """The folder run-001 of four epochs, of which training was stopped in epoch 2; train.py is set to resume it."""
    monkeypatch.setattr(train, "EPOCHS", 4)
    shutil.copytree(trained / "stopped", train.CHECKPOINTS_DIR / "run-001")
    return train.CHECKPOINTS_DIR / "run-001"


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(stopped, trained, capsys):
    train.main()
    assert capsys.readouterr().out.startswith(f"resuming {stopped.as_posix()}: epochs 2 to 3 on ")
    assert parameters_of(stopped) == parameters_of(trained / "whole")
    assert len((stopped / "training_log.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize("epochs", [4, 6])
def test_complete_runs_are_not_resumed_and_one_line_says_so(small_training, trained, monkeypatch, capsys, epochs):
    for name in ("run-001", "run-002"):
        shutil.copytree(trained / "whole", train.CHECKPOINTS_DIR / name)
    monkeypatch.setattr(train, "EPOCHS", epochs)
    train.main()
    first, second, *_ = capsys.readouterr().out.splitlines()
    why = "it is complete, and its learning-rate schedule was for 4 epochs"
    assert first.endswith(f"run-002 (4 of 4 epochs) is not resumed: {why}")
    assert second.startswith(f"starting {train.CHECKPOINTS_DIR.as_posix()}/run-003: epochs 0 to {epochs - 1} on ")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda _: {"EPOCHS": 5}, "EPOCHS was 4, now 5"),
        (lambda _: {"LEARNING_RATE": 0.002, "SEED": 1}, "LEARNING_RATE was 0.001, now 0.002, SEED was 0, now 1"),
        (lambda _: {"WEIGHT_DECAY": 0.1}, "WEIGHT_DECAY was not set, now 0.1"),
        (lambda folder: (folder / "settings.json").write_text('{"MOMENTUM": 0.9}'), "MOMENTUM was 0.9, now not set, "),
        (lambda folder: FileLock(folder / ".lock").acquire(), "another program is training it"),
        (lambda folder: (folder / "settings.json").write_text("{"), "its settings.json can't be read"),
        (lambda folder: (folder / "settings.json").write_text("[1]"), "its settings.json can't be read"),
        (lambda folder: (folder / "training_state.pt").unlink(), "its training_state.pt is missing"),
    ],
)
def test_a_run_that_is_not_resumed_is_left_alone_and_a_line_says_why(stopped, monkeypatch, capsys, change, why):
    changed = change(stopped)
    for name, value in changed.items() if isinstance(changed, dict) else ():
        monkeypatch.setattr(train, name, value, raising=False)
    before = {path: path.stat().st_mtime_ns for path in stopped.glob("[a-z]*")}
    train.main()
    line = capsys.readouterr().out.splitlines()[0]
    assert "run-001 (2 of " in line
    assert f" epochs) is not resumed: {why}" in line
    assert {path: path.stat().st_mtime_ns for path in stopped.glob("[a-z]*")} == before
    assert len(epoch_files(stopped.parent / "run-002")) == train.EPOCHS


def test_a_damaged_training_state_is_refused_and_pickled_code_is_not_run(stopped, tmp_path):
    path = stopped / "training_state.pt"
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    for write in (path.touch, lambda: path.write_bytes(flipped), lambda: torch.save(Mark(tmp_path / "mark"), path)):
        path.unlink()
        write()
        with pytest.raises(UserError, match=r"training_state.pt is missing or damaged \(.*delete it, and python train"):
            train.main()
    assert not (tmp_path / "mark").exists()


def test_a_run_starts_only_if_the_disk_has_space_for_all_that_it_will_write(small_training, monkeypatch):
    monkeypatch.setattr(train, "EPOCHS", 4)
    monkeypatch.setattr(train, "DIM_HIDDEN", [4, 8, 16, 256, 16])
    half = 2 * sum(p.numel() for p in train.myCNN(train.DIM_HIDDEN).parameters())  # bytes: of half an epoch
    used, fsync, disk = [], os.fsync, type(shutil.disk_usage("/"))

    def size(folder):
        return sum(path.stat().st_size for path in folder.iterdir())

    monkeypatch.setattr(os, "fsync", lambda file: used.append(size(train.CHECKPOINTS_DIR / "run-001")) or fsync(file))
    train.main()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: disk(0, 0, max(used) - half - size(folder)))
    with pytest.raises(UserError, match=r"needs \d+ MB in .* \d+ MB are free: free some disk space, or lower"):
        train.main()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: disk(0, 0, max(used) + half - size(folder)))
    train.main()


@pytest.mark.parametrize(("limit", "name"), [(60_000, "epoch_02"), (200_000, "training_state.pt")])  # bytes
def test_a_full_disk_is_one_line_and_the_run_is_resumed_once_there_is_space(stopped, trained, limit, name):
    resource = pytest.importorskip("resource", reason="Windows limits no file's size")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(UserError, match=rf"{name}.* could not be written .*free some disk space"):
            train.main()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    train.main()
    assert parameters_of(stopped) == parameters_of(trained / "whole")
    assert not list(stopped.glob(".*.tmp"))


KILLS = """
import os, sys
from pathlib import Path
import pytest, train
from conftest import set_small
set_small(pytest.MonkeyPatch(), Path(sys.argv[1], "not killed"), train.load_mnist(train=True, device="cpu"), epochs=2)
train.main()  # and PyTorch is ready, which takes seconds
fsync = os.fsync

def start(folder, killed_in=None):
    if process := os.fork():  # a copy with one thread: others don't survive
        return process
    saves, me = iter(range(10**9)), os.getpid()
    # When it is killed, what is not yet on the disk is lost.
    os.fsync = lambda file: os.ftruncate(file, 9) or os.kill(me, 9) if next(saves) == killed_in else fsync(file)
    train.CHECKPOINTS_DIR = Path(sys.argv[1], folder)
    train.main()
    os._exit(0)

def end(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

for save in range(6):  # settings, state; epoch, log, state; epoch
    assert end(start(f"save {save}", save)) == -9
    assert end(start(f"save {save}")) == 0
assert [end(process) for process in [start("two"), start("two")]] == [0, 0]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it forks processes and kills them")
def test_a_training_killed_during_any_save_ends_with_the_same_parameters(tmp_path):
    process = start(train.ROOT / "tests", "-c", KILLS, str(tmp_path), PYTHONPATH=str(train.ROOT), OMP_NUM_THREADS="1")
    _, err = process.communicate(timeout=170)
    assert process.returncode == 0, err
    whole = parameters_of(tmp_path / "not killed" / "run-001")
    assert list(whole) == [0, 1]
    for folder in tmp_path.iterdir():
        assert parameters_of(folder / "run-001") == whole
        assert parameters_of(folder / "run-002") == (whole if folder.name == "two" else {})
        assert not [*folder.rglob("*.tmp"), *folder.rglob("training_state.pt")]


def test_the_newest_run_that_has_an_epoch_is_used(tmp_path):
    assert newest_run(tmp_path / "nowhere", "small") == "small"
    for number in (999, 1000, 1001):
        (tmp_path / f"run-{number}").mkdir()
        if number < 1001:
            (tmp_path / f"run-{number}" / "epoch_00.npz").touch()
    assert newest_run(tmp_path, None).name == "run-1000"
    with pytest.raises(UserError, match="run-1001 has no epoch yet: run python train.py"):
        last_epoch(tmp_path / "run-1001")
