"""The run that is trained in: a new one, or an unfinished one gone on with; its settings, log and training state."""

import json
import platform
import sys
from contextlib import ExitStack, contextmanager
from importlib.metadata import version

import numpy as np
import torch
from filelock import FileLock, Timeout

from support.errors import UserError, exit_code
from support.files import atomic_write, read_json, shown, write_csv
from support.hyperparameters import check_room
from support.runs import all_runs
from support.state import DamagedState, load_state, save_state


@contextmanager
def open_run(checkpoints, hyperparameters, model, optimizer, scheduler, precision):
    """Give the Run to train in: the newest unfinished one with the same settings, or else a new one.

    A run that is continued has its training state loaded into model, optimizer, scheduler and the random number
    generators; why one with the same hyperparameters is not is said in a line. Only one program can have a run open.
    Ctrl-C and SIGTERM come out as a UserError that says what is saved, and so do a `checkpoints` folder that can't be
    written and a disk with too little room.
    """
    settings = {
        "hyperparameters": hyperparameters,
        "device": next(model.parameters()).device.type,
        "precision": str(precision).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": version("torchvision"),
            "numpy": np.__version__,
        },
    }
    settings = json.loads(json.dumps(settings))  # as the file has them: tuples become lists
    training = (model, optimizer, scheduler)
    with _one_line_where_unwritable(checkpoints):
        checkpoints.mkdir(parents=True, exist_ok=True)
        run = _unfinished_run(checkpoints, settings, training) or _new_run(checkpoints, settings, training)
    try:
        check_room(checkpoints, hyperparameters["EPOCHS"] - run.next_epoch, settings["parameters"])
        if run.next_epoch == 0:
            run.save_state()  # from here to the last epoch's end there is one
        yield run
    except KeyboardInterrupt as stop:
        saved = f"{run.next_epoch} of {hyperparameters['EPOCHS']} epochs are saved in {shown(run.folder)}"
        raise UserError(f"stopped: {saved}; python train.py goes on from there", exit_code(stop)) from None
    finally:
        run.lock.release()


class Run:
    """A run's folder, open, and what is saved there beside the parameters: the training log and the training state."""

    def __init__(self, folder, training):
        self.folder, self.training = folder, training  # model, optimizer, scheduler
        self.log = torch.empty(0, 2, dtype=torch.float64)  # a row an epoch: mean loss, seconds
        self.lock = FileLock(folder / ".lock")
        self.lock.acquire(timeout=0.2)

    @property
    def next_epoch(self):
        """The epoch, counted from 0, to train next; all before it are saved."""
        return len(self.log)

    @property
    def state_file(self):
        return self.folder / "training_state.pt"

    def epoch_file(self, epoch):
        """Where an epoch's parameters belong."""
        return self.folder / f"epoch_{epoch:02d}.npz"

    def finish_epoch(self, loss, seconds, is_last):
        """Record the epoch whose parameters have just been saved: its mean loss and how many seconds it took.

        The training state takes the place of the one before or, after the last epoch, is deleted: all is done.
        """
        self.log = torch.cat([self.log, torch.tensor([[loss, seconds]], dtype=torch.float64)])
        rows = [(epoch, f"{loss:.6f}", f"{seconds:.2f}") for epoch, (loss, seconds) in enumerate(self.log.tolist())]
        write_csv(self.folder / "training_log.csv", ("epoch", "loss", "seconds"), rows)
        if is_last:
            self.state_file.unlink(missing_ok=True)
        else:
            self.save_state()

    def save_state(self):
        """Save all that going on takes, in the place of the training state before."""
        save_state(self.state_file, *self.training, self.log)

    def load_state(self):
        """Go on from the training state in the folder. Raises OSError and, a damaged one renamed, DamagedState."""
        try:
            self.log = load_state(self.state_file, *self.training)
        except DamagedState as damage:
            with _one_line_where_unwritable(self.folder):
                self.state_file.replace(self.folder / "training_state.damaged")
            raise DamagedState(f"{shown(self.state_file)} is damaged ({damage})") from damage


class OtherSettings(Exception):
    """What an unfinished run of the same hyperparameters was begun with, and this one would not be."""


@contextmanager
def _one_line_where_unwritable(folder):
    try:
        yield
    except (OSError, NotImplementedError) as error:  # the latter from filelock, where files can't be locked
        raise UserError(f"{shown(folder)} can't be written ({error}): permit writing there") from error


def _unfinished_run(checkpoints, settings, training):
    """The newest unfinished Run of the same settings, open and loaded, or None; says why others are not continued."""
    for folder in reversed(all_runs(checkpoints)):
        its = read_json(folder / "settings.json")
        if its.get("hyperparameters", settings["hyperparameters"]) != settings["hyperparameters"]:
            continue
        try:
            if run := _continued(folder, its, settings, training):
                return run
            continue
        except Timeout:
            why, stream = "another program has it open", sys.stdout
        except OtherSettings as other:
            why, stream = other, sys.stdout
        except OSError as error:
            why, stream = f"it can't be opened ({error})", sys.stderr
        except DamagedState as damage:
            why, stream = damage, sys.stderr
        print(f"{shown(folder)} is not continued: {' '.join(str(why).split())}", file=stream, flush=True)
    return None


def _continued(folder, its, settings, training):
    """The Run in a folder whose settings.json says `its`, open and loaded, or None where it is complete."""
    if not _is_unfinished(folder):
        return None
    if "hyperparameters" not in its:
        raise DamagedState("its settings.json can't be read")
    if different := [name for name in ("device", "precision") if its.get(name) != settings[name]]:
        raise OtherSettings(", ".join(f"its {name} is {its.get(name)}, now {settings[name]}" for name in different))
    if any(folder.glob("epoch_*.npy")):
        raise OtherSettings("its epochs are .npy files of an earlier version, which are no longer read")
    run = Run(folder, training)
    with ExitStack() as stack:
        stack.callback(run.lock.release)
        if not _is_unfinished(folder):  # another program has just completed it
            return None
        if run.state_file.name in _visible(folder):
            run.load_state()
        _tell_changes(folder, its, settings)
        stack.pop_all()  # it stays open
    return run


def _visible(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def _is_unfinished(folder):
    """Whether a run has a training state, or was stopped before its first."""
    names = _visible(folder)
    return "training_state.pt" in names or names == {"settings.json"}


def _tell_changes(folder, its, settings):
    """Say where a run goes on with another number of threads or another library than it began with."""
    versions = its.get("versions")
    then = {"threads": its.get("threads")} | (versions if isinstance(versions, dict) else {})
    now = {"threads": settings["threads"]} | settings["versions"]
    changed = [f"{name} {then[name]}, now {now[name]}" for name in now if then.get(name) not in (None, now[name])]
    if changed:
        print(f"{folder.name} was begun with {', '.join(changed)}: it won't equal an uninterrupted one to the bit")


def _new_run(checkpoints, settings, training):
    """Make the next run, with settings.json in it."""
    # Before a folder is made: a refused run leaves none.
    check_room(checkpoints, settings["hyperparameters"]["EPOCHS"], settings["parameters"])
    number = max((int(path.name[4:]) for path in all_runs(checkpoints)), default=0) + 1
    while True:
        folder = checkpoints / f"run-{number:03d}"
        try:
            folder.mkdir()  # atomic: two trainings started at once get two folders
            break
        except FileExistsError:
            number += 1
    run = Run(folder, training)
    with atomic_write(folder / "settings.json") as file:
        file.write(json.dumps(settings, indent=2).encode())
    return run
