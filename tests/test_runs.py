"""Interrupted, resumed, damaged: whatever happens to a run, its finished epochs are safe."""

import json
import os
import pickle
import random
import resource
import shutil
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from conftest import SMALL, Mark

from Model import load_parameters, myCNN
from support import training
from support.errors import UserError
from support.runs import best_epoch, epoch_files, is_run, newest_run


def parameters_of(folder):
    """The bytes of each saved epoch of a run."""
    return {epoch: path.read_bytes() for epoch, path in epoch_files(folder).items()}


@pytest.fixture
def interrupted(small_training, monkeypatch):
    """train.py with four epochs, the run of an uninterrupted training moved to "whole", and one stopped in epoch 3."""
    monkeypatch.setattr(small_training, "EPOCHS", 4)
    monkeypatch.setattr(small_training, "AUGMENT", True)
    monkeypatch.setattr(small_training, "LR_SCHEDULE", "cosine")
    small_training.main()
    (small_training.CHECKPOINTS_DIR / "run-001").rename(small_training.CHECKPOINTS_DIR / "whole")
    stop_in(small_training, epoch=3)
    return small_training


def stop_in(train, epoch, error=KeyboardInterrupt):
    """Train until the third step of an epoch, counted from 1, and be stopped there."""
    step, steps = train.train_step, iter(range(1, 10**9))

    def stopping_step(*arguments):
        if next(steps) == 8 * (epoch - 1) + 3:
            raise error
        return step(*arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match="2 of 4 epochs are saved") as stopped:
        patch.setattr(train, "train_step", stopping_step)
        train.main()
    assert stopped.value.exit_code == 130


def test_a_continued_run_equals_an_uninterrupted_one_to_the_bit(interrupted, capsys):
    interrupted.main()
    assert "continuing run-001 at epoch 3 of 4" in capsys.readouterr().out
    runs = interrupted.CHECKPOINTS_DIR
    assert parameters_of(runs / "run-001") == parameters_of(runs / "whole")
    assert len((runs / "run-001" / "training_log.csv").read_text().splitlines()) == 5
    assert not (runs / "run-001" / "training_state.pt").exists()
    assert not (runs / "run-002").exists()


def test_a_complete_run_is_not_continued(interrupted):
    interrupted.main()
    interrupted.main()
    assert len(epoch_files(interrupted.CHECKPOINTS_DIR / "run-002")) == 4


def test_a_run_of_other_settings_is_left_alone(interrupted, monkeypatch):
    before = {path.name: path.stat().st_mtime_ns for path in (interrupted.CHECKPOINTS_DIR / "run-001").glob("[a-z]*")}
    monkeypatch.setattr(interrupted, "LEARNING_RATE", 0.002)
    interrupted.main()
    assert len(epoch_files(interrupted.CHECKPOINTS_DIR / "run-002")) == 4
    after = {path.name: path.stat().st_mtime_ns for path in (interrupted.CHECKPOINTS_DIR / "run-001").glob("[a-z]*")}
    assert before == after


def test_a_complete_run_whose_epochs_were_deleted_is_not_trained_again_in_its_place(interrupted):
    interrupted.main()
    folder = interrupted.CHECKPOINTS_DIR / "run-001"
    for path in epoch_files(folder).values():
        path.unlink()
    interrupted.main()
    assert not epoch_files(folder)
    assert len(epoch_files(interrupted.CHECKPOINTS_DIR / "run-002")) == 4


def edit_settings(folder, **changes):
    """Change what a run's settings.json says."""
    path = folder / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder: edit_settings(folder, precision="float16"), "its precision is float16, now "),
        (lambda folder: edit_settings(folder, device="abacus"), "its device is abacus, now cpu"),
        (lambda folder: (folder / "settings.json").write_text('{"hyperparameters": {'), "settings.json can't be read"),
        (lambda folder: (folder / "settings.json").write_text("[" * 100_000), "settings.json can't be read"),
        (lambda folder: (folder / "settings.json").write_text("[]"), "settings.json can't be read"),
        (lambda folder: (folder / "settings.json").unlink(), "settings.json can't be read"),
        (lambda folder: replace(folder / "settings.json", Path.mkdir), "settings.json can't be read"),
        (lambda folder: replace(folder / "settings.json", os.mkfifo), "settings.json can't be read"),
        (lambda folder: replace(folder / "training_state.pt", Path.mkdir), "training_state.pt is not a file"),
        (lambda folder: replace(folder / "training_state.pt", os.mkfifo), "training_state.pt is not a file"),
        (lambda folder: replace(folder / ".lock", Path.mkdir), "can't be opened"),
    ],
)
def test_why_an_unfinished_run_is_not_continued_is_said_in_a_line(interrupted, capsys, change, why):
    folder = interrupted.CHECKPOINTS_DIR / "run-001"
    change(folder)
    before = parameters_of(folder), {path.name for path in folder.glob("[!.]*")}
    capsys.readouterr()
    interrupted.main()
    out, err = capsys.readouterr()
    [line] = [line for line in (out + err).splitlines() if "run-001" in line]
    assert "run-001 is not continued: " in line
    assert why in line
    assert err.count("\n") <= 1
    assert (parameters_of(folder), {path.name for path in folder.glob("[!.]*")}) == before
    assert len(epoch_files(interrupted.CHECKPOINTS_DIR / "run-002")) == 4


def replace(path, make):
    """Put something else in a file's place."""
    path.unlink()
    make(path)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_training_state_that_cannot_be_read_is_not_called_damaged_nor_renamed(
    interrupted, monkeypatch, capsys, error
):
    plain_open = Path.open

    def refusing_open(path, mode="r", *arguments, **options):
        if path.name == "training_state.pt" and mode == "rb":
            raise error
        return plain_open(path, mode, *arguments, **options)

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refusing_open)
        interrupted.main()
    _, err = capsys.readouterr()
    assert "run-001 is not continued: it can't be opened" in err
    assert "damaged" not in err
    assert err.count("\n") == 1
    shutil.rmtree(interrupted.CHECKPOINTS_DIR / "run-002")
    interrupted.main()
    assert "continuing run-001 at epoch 3 of 4" in capsys.readouterr().out


def test_a_run_that_is_continued_with_other_threads_or_libraries_says_so(interrupted, capsys):
    folder = interrupted.CHECKPOINTS_DIR / "run-001"
    assert json.loads((folder / "settings.json").read_text())["threads"] == torch.get_num_threads()
    edit_settings(folder, threads=77)
    capsys.readouterr()
    interrupted.main()
    out = capsys.readouterr().out
    assert f"run-001 was begun with threads 77, now {torch.get_num_threads()}: it won't equal" in out
    assert "continuing run-001 at epoch 3 of 4" in out


def test_a_bit_flipped_anywhere_in_a_training_state_changes_nothing_unsaid(interrupted):
    path = interrupted.CHECKPOINTS_DIR / "run-001" / "training_state.pt"
    whole, chance = path.read_bytes(), random.Random(0)
    model = myCNN(SMALL)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    everything = (model, optimizer, interrupted.make_scheduler(optimizer, 32))
    training.load_state(path, *everything)

    def values():
        return [
            tensor.clone()
            for state in optimizer.state.values()
            for tensor in (*state.values(), *model.state_dict().values())
        ]

    expected, told = values(), 0
    for position in [*chance.choices(range(len(whole)), k=300), *range(len(whole) - 30, len(whole))]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            training.load_state(path, *everything)
        except training.DamagedState:
            told += 1
        assert all(map(torch.equal, values(), expected)), position
    assert told > 250


def test_a_training_state_of_numbers_that_are_none_is_damaged(interrupted, capsys):
    path = interrupted.CHECKPOINTS_DIR / "run-001" / "training_state.pt"
    for change in (
        lambda state: state["model"]["fc3.bias"].fill_(float("nan")),
        lambda state: state["random"]["cpu"].zero_(),
    ):
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(interrupted, "EPOCHS", 4)
            stop_in(interrupted, epoch=3)
        assert "training_state.pt is damaged" in capsys.readouterr().err
        path = newest_run(interrupted.CHECKPOINTS_DIR) / "training_state.pt"
    assert parameters_of(path.parent)[1] == parameters_of(interrupted.CHECKPOINTS_DIR / "whole")[1]


def test_a_training_state_that_vanishes_in_the_last_epoch_is_not_missed(interrupted, monkeypatch):
    finish = training.Run.finish_epoch

    def finish_without_state(run, loss, seconds, is_last):
        if is_last:
            run.state_file.unlink()
        finish(run, loss, seconds, is_last)

    monkeypatch.setattr(training.Run, "finish_epoch", finish_without_state)
    interrupted.main()
    assert len(epoch_files(interrupted.CHECKPOINTS_DIR / "run-001")) == 4


def test_checkpoints_that_vanish_during_training_are_one_line(interrupted, monkeypatch):
    step, runs = interrupted.train_step, interrupted.CHECKPOINTS_DIR

    def stealing_step(*arguments):
        if runs.is_dir():
            shutil.rmtree(runs)
            runs.write_text("in the way")
        return step(*arguments)

    monkeypatch.setattr(interrupted, "train_step", stealing_step)
    with pytest.raises(UserError, match="could not be written"):
        interrupted.main()


def test_the_newest_run_with_an_epoch_is_found_behind_one_without(tmp_path):
    for name in ("run-001", "run-002", "run-²", "run-003x"):
        (tmp_path / name).mkdir()
    (tmp_path / "run-004").write_text("no folder")
    (tmp_path / "run-001" / "epoch_00.npz").touch()
    (tmp_path / "run-001" / "epoch_².npz").touch()
    assert newest_run(tmp_path).name == "run-002"
    assert newest_run(tmp_path, with_epoch=True).name == "run-001"
    assert list(epoch_files(tmp_path / "run-001")) == [0]
    assert epoch_files(tmp_path / "run-004") == epoch_files(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    "text",
    ["epoch,accuracy\n0,99\n", "epoch,accuracy\n0,nan\n1,nan\n", "x" * 200_000, "\0", "epoch,accuracy\n0,9\n²,1\n"],
)
def test_a_table_of_accuracies_that_does_not_tell_of_all_epochs_leaves_the_last(tmp_path, text):
    for epoch in (0, 1):
        (tmp_path / f"epoch_{epoch:02d}.npz").touch()
    (tmp_path / "accuracy.csv").write_text("epoch,accuracy\n0,99\n1,98\n")
    assert best_epoch(tmp_path)[0] == 0
    (tmp_path / "accuracy.csv").write_text(text)
    assert best_epoch(tmp_path)[0] == 1


def test_a_folder_is_a_run_by_its_name_or_by_what_is_in_it(tmp_path):
    for name in ("run-001", "mine", "photos"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine" / "training_log.csv").touch()
    (tmp_path / "photos" / "report.png").touch()
    runs = [path.name for path in (*tmp_path.iterdir(), tmp_path / ("x" * 300)) if is_run(path)]
    assert sorted(runs) == ["mine", "run-001"]


def damage(path, how):
    """Damage a training state in one of several ways."""
    whole = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "cut short":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "overwritten":
        path.write_bytes(whole[:1000] + bytes(len(whole) - 1000))
    else:
        state = torch.load(path, weights_only=True)
        if how == "moments of another shape":
            state["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1)
        elif how == "a field missing":
            del state["scheduler"]
        elif how == "a log without end":
            state["log"] = torch.zeros(()).expand(10**15, 2)
        elif how == "another network":
            state["model"]["fc1.weight"] = torch.zeros(3, 3)
        torch.save(state, path)


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "cut short",
        "overwritten",
        "moments of another shape",
        "a field missing",
        "a log without end",
        "another network",
    ],
)
def test_a_damaged_training_state_is_said_and_a_new_run_starts(interrupted, capsys, how):
    runs = interrupted.CHECKPOINTS_DIR
    before = parameters_of(runs / "run-001")
    damage(runs / "run-001" / "training_state.pt", how)
    capsys.readouterr()
    interrupted.main()
    err = capsys.readouterr().err
    assert "training_state.pt is damaged" in err
    assert err.count("\n") == 1
    assert parameters_of(runs / "run-001") == before
    assert parameters_of(runs / "run-002") == parameters_of(runs / "whole")


def test_a_damaged_training_state_where_nothing_can_be_written_is_one_line(interrupted, monkeypatch):
    damage(interrupted.CHECKPOINTS_DIR / "run-001" / "training_state.pt", "empty")

    def refuse(path, target):
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(UserError, match="can't be written"):
        interrupted.main()


def test_a_run_is_continued_where_there_is_room_for_the_epochs_left(interrupted, monkeypatch, capsys):
    parameters = 4 * sum(p.numel() for p in myCNN(SMALL).parameters())
    for epochs, is_enough in ((7, False), (8, True)):  # two left, and six for the state; a whole run would take ten
        usage = type(shutil.disk_usage("/"))(10**12, 10**12, epochs * parameters)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, usage=usage: usage)
        with nullcontext() if is_enough else pytest.raises(UserError, match="GB are free"):
            interrupted.main()
    assert "continuing run-001 at epoch 3 of 4" in capsys.readouterr().out


def test_a_run_stopped_before_its_first_state_asks_for_the_room_of_a_whole_run(interrupted, monkeypatch):
    for path in (interrupted.CHECKPOINTS_DIR / "run-001").iterdir():
        if path.name != "settings.json":
            path.unlink()
    usage = type(shutil.disk_usage("/"))(10**12, 10**12, 10**4)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="GB are free"):
        interrupted.main()


@pytest.mark.parametrize("save", [torch.save, lambda mark, path: path.write_bytes(pickle.dumps(mark))])
def test_a_training_state_with_a_pickle_runs_no_code(interrupted, tmp_path, save):
    save(Mark(tmp_path / "mark"), interrupted.CHECKPOINTS_DIR / "run-001" / "training_state.pt")
    interrupted.main()
    assert not (tmp_path / "mark").exists()
    assert len(epoch_files(interrupted.CHECKPOINTS_DIR / "run-002")) == 4


def test_training_stops_before_anything_not_finite_is_saved(small_training, monkeypatch):
    loss_function, steps = small_training.loss_function, iter(range(10**9))
    monkeypatch.setattr(
        small_training,
        "loss_function",
        lambda logits, labels: loss_function(logits, labels) * (float("nan") if next(steps) == 12 else 1),
    )
    with pytest.raises(UserError, match=r"no longer finite in epoch 2 \(learning rate 0.001\).*lower LEARNING_RATE"):
        small_training.main()
    folder = small_training.CHECKPOINTS_DIR / "run-001"
    assert list(epoch_files(folder)) == [0]
    assert all(tensor.isfinite().all() for tensor in load_parameters(folder / "epoch_00.npz").state_dict().values())
    assert len(torch.load(folder / "training_state.pt", weights_only=True)["log"]) == 1


# From here on the scripts run as real processes.


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The epochs of an uninterrupted training of long_project, made when first asked for."""
    epochs = {}

    def of(project):
        if not epochs:
            copy = type(project)(tmp_path_factory.mktemp("whole"))
            copy.environment = project.environment
            shutil.copy(project.folder / "train.py", copy.folder)
            assert copy.run("train.py")[0] == 0
            epochs.update(parameters_of(copy.folder / "checkpoints" / "run-001"))
        return epochs

    return of


@pytest.fixture
def long_project(project):
    """A copy of the project with three epochs of half a second or so."""
    project.edit(EPOCHS=3)
    script = project.folder / "train.py"
    everything = "images, labels = load_mnist(train=True, device=devices.CPU)"
    assert everything in script.read_text()
    some = everything.replace("load_mnist", "(part[:6000] for part in load_mnist") + ")"
    script.write_text(script.read_text().replace(everything, some))
    project.environment = {"OMP_NUM_THREADS": "1"}  # two programs at once don't slow each other down
    return project


def wait_for_epoch(process, number):
    """Read a training's output until it has finished an epoch."""
    while not process.stdout.readline().startswith(f"epoch {number}/"):
        assert process.poll() is None


def test_a_training_killed_at_any_moment_goes_on_to_the_same_parameters(long_project, whole):
    chance = random.Random(1)
    for _ in range(3):
        process = long_project.start("train.py")
        time.sleep(chance.uniform(2.0, 3.0))
        process.kill()
        process.communicate()
        for path in epoch_files(long_project.folder / "checkpoints" / "run-001").values():
            load_parameters(path)
    assert long_project.run("train.py")[0] == 0
    assert parameters_of(long_project.folder / "checkpoints" / "run-001") == whole(long_project)


KILLED_IN_SAVE = """
import os, signal, sys, train
fsync, calls = os.fsync, iter(range(10**9))
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL) if next(calls) == {call} else fsync(file)
train.main()
"""


@pytest.mark.parametrize("call", range(1, 5))  # the first state; epoch 0, the log, the state
def test_a_training_killed_within_a_save_goes_on_to_the_same_parameters(long_project, whole, call):
    code, _, _ = long_project.run("-c", KILLED_IN_SAVE.format(call=call))
    assert code == -signal.SIGKILL
    folder = long_project.folder / "checkpoints" / "run-001"
    assert len(list(folder.glob(".*.tmp"))) == 1
    assert long_project.run("train.py")[0] == 0
    assert parameters_of(folder) == whole(long_project)
    assert not list(folder.glob(".*.tmp"))
    assert len((folder / "training_log.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_says_what_is_saved_and_how_to_go_on(long_project, number, code):
    process = long_project.start("train.py")
    wait_for_epoch(process, 1)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code
    assert err == "stopped: 1 of 3 epochs are saved in checkpoints/run-001; python train.py goes on from there\n"


def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(long_project, whole):
    process = long_project.start("train.py")
    wait_for_epoch(process, 1)
    process.terminate()
    process.communicate()
    limited = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, {resource.RLIM_INFINITY}));"
    code, out, err = long_project.run("-c", f"{limited} runpy.run_path('train.py', run_name='__main__')")
    assert code == 2
    assert "continuing run-001 at epoch 2 of 3" in out
    assert "epoch_01.npz could not be written" in err
    assert err.count("\n") == 1
    folder = long_project.folder / "checkpoints" / "run-001"
    assert parameters_of(folder) == {0: whole(long_project)[0]}
    assert not list(folder.glob(".*.tmp"))
    assert long_project.run("train.py")[0] == 0
    assert parameters_of(folder) == whole(long_project)


def test_a_state_that_cannot_be_written_is_one_line_too(long_project):
    limited = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, {resource.RLIM_INFINITY}));"
    code, _, err = long_project.run("-c", f"{limited} runpy.run_path('train.py', run_name='__main__')")
    assert code == 2
    assert "training_state.pt could not be written" in err
    assert err.count("\n") == 1


def test_two_trainings_at_once_get_a_run_each(long_project, whole):
    processes = [long_project.start("train.py") for _ in range(2)]
    for process in processes:
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        assert "continuing" not in out
    for run in ("run-001", "run-002"):
        assert parameters_of(long_project.folder / "checkpoints" / run) == whole(long_project)


def test_a_run_in_training_is_not_continued_by_another_and_its_epochs_are_whole(long_project):
    first = long_project.start("train.py")
    wait_for_epoch(first, 1)
    second = long_project.start("train.py")
    looks = 0
    while first.poll() is None:
        for path in epoch_files(long_project.folder / "checkpoints" / "run-001").values():
            load_parameters(path)
            looks += 1
    assert looks > 10
    assert "saved in checkpoints/run-002" in second.communicate()[0]
    assert len(epoch_files(long_project.folder / "checkpoints" / "run-002")) == 3
