"""The run folders checkpoints/run-001, run-002, …: settings, log, training state; and the checks before a run."""

import copy
import csv
import json
import math
import platform
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torchvision
from filelock import FileLock, Timeout

from support import device as devices
from support.errors import UserError, exit_code
from support.files import atomic_write, write_csv


def _whole_number(low, high):
    return lambda value: type(value) is int and low <= value <= high


def _number(low, high):
    return lambda value: type(value) in (int, float) and math.isfinite(value) and low <= value <= high


# Each hyperparameter of train.py: whether a value is allowed, and what is, in words.
HYPERPARAMETERS = {
    "EPOCHS": (_whole_number(1, 10_000), "a whole number from 1 to 10000"),
    "BATCH_SIZE": (_whole_number(1, 60_000), "a whole number from 1 to 60000"),
    "LEARNING_RATE": (_number(1e-10, 1), "a number above 0, up to 1"),
    "DIM_HIDDEN": (
        lambda widths: (
            type(widths) in (list, tuple) and len(widths) == 5 and all(map(_whole_number(1, 65_536), widths))
        ),
        "a list of five whole numbers from 1 to 65536",
    ),
    "LR_SCHEDULE": (lambda value: value in ("constant", "cosine"), '"constant" or "cosine"'),
    "AUGMENT": (lambda value: type(value) is bool, "True or False"),
    "LABEL_SMOOTHING": (_number(0, 0.99), "a number from 0 to 0.99"),
    "PRECISION": (lambda value: value in ("auto", "float32", "bfloat16"), '"auto", "float32" or "bfloat16"'),
    "SEED": (_whole_number(0, 2**63 - 1), "a whole number from 0 to 2**63 - 1"),
}


def checked_hyperparameters(module):
    """The hyperparameters among a module's names, as a dict; a UserError names the first one out of its range."""
    values = {name: module[name] for name in HYPERPARAMETERS}
    for name, value in values.items():
        allowed, words = HYPERPARAMETERS[name]
        if not allowed(value):
            raise UserError(f"{name} = {value!r} in train.py must be {words}")
    return values


def shown(path):
    """A path as a user would type it: relative to the current folder where it lies below that."""
    path = Path(path).absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def all_runs(checkpoints):
    """The run folders in `checkpoints`, oldest first."""
    runs = (path for path in checkpoints.glob("run-*") if path.name[4:].isdigit() and path.is_dir())
    return sorted(runs, key=lambda path: int(path.name[4:]))


def epoch_files(folder):
    """The saved epochs of a run: a dict from the epoch, counted from 0, to its parameter file, in order."""
    files = (path for path in folder.glob("epoch_*.npy") if path.stem[6:].isdigit())
    return {int(path.stem[6:]): path for path in sorted(files, key=lambda path: int(path.stem[6:]))}


def is_run(path):
    """Whether a path is a run's folder: one with epochs or, before its first one ends, with settings.json."""
    return path.is_dir() and bool(epoch_files(path) or (path / "settings.json").exists())


def newest_run(checkpoints):
    """The folder of the newest run; a UserError where there is none."""
    runs = all_runs(checkpoints)
    if not runs:
        raise UserError(f"no run in {shown(checkpoints)} yet: python train.py makes one")
    return runs[-1]


def best_epoch(folder):
    """A run's best epoch and its parameter file: by accuracy.csv, or the last where that does not tell of all."""
    epochs = epoch_files(folder)
    if not epochs:
        raise UserError(f"{shown(folder)} has no epoch yet: wait for its first one, or name another run")
    try:
        with (folder / "accuracy.csv").open(newline="") as file:
            accuracies = {int(row["epoch"]): float(row["accuracy"]) for row in csv.DictReader(file)}
    except (OSError, ValueError, TypeError, KeyError):
        accuracies = {}
    epoch = max(epochs, key=accuracies.get) if epochs.keys() <= accuracies.keys() else max(epochs)
    return epoch, epochs[epoch]


@contextmanager
def open_run(checkpoints, hyperparameters, model, optimizer, scheduler, precision):
    """Give the Run to train in: the newest unfinished one with the same settings, or else a new one.

    A run that is continued has its training state loaded into model, optimizer, scheduler and the random number
    generators. Only one program can have a run open. Ctrl-C and SIGTERM come out as a UserError that says what is
    saved, and so do a `checkpoints` folder that can't be written and a disk with too little room.
    """
    device = next(model.parameters()).device
    settings = {
        "hyperparameters": hyperparameters,
        "device": device.type,
        "precision": str(precision).removeprefix("torch."),
        "parameters": sum(p.numel() for p in model.parameters()),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "numpy": np.__version__,
        },
    }
    settings = json.loads(json.dumps(settings))  # as the file has them: tuples become lists
    with _one_line_where_unwritable(checkpoints):
        checkpoints.mkdir(parents=True, exist_ok=True)
        folder, lock = _unfinished_run(checkpoints, settings) or _new_run(checkpoints, settings)
    run = Run(folder, model, optimizer, scheduler)
    try:
        if run.state_file.exists():
            try:
                run.load_state()
            except DamagedState as damage:
                print(f"{damage}: its epochs stay, and a new run starts", file=sys.stderr)
                with _one_line_where_unwritable(checkpoints):
                    run.state_file.replace(folder / "training_state.damaged")
                    lock.release()
                    run.folder, lock = _new_run(checkpoints, settings)
        _check_room(checkpoints, settings, run.next_epoch)
        if run.next_epoch == 0:
            run.save_state()  # from here to the last epoch's end there is one
        yield run
    except KeyboardInterrupt as stop:
        saved = f"{run.next_epoch} of {hyperparameters['EPOCHS']} epochs are saved in {shown(run.folder)}"
        raise UserError(f"stopped: {saved}; python train.py goes on from there", exit_code(stop)) from None
    finally:
        lock.release()


class DamagedState(Exception):
    """A training state that can't be gone on from."""


class Run:
    """A run's folder and what is saved there beside the parameters: the training log and the training state."""

    def __init__(self, folder, model, optimizer, scheduler):
        self.folder, self.model, self.optimizer, self.scheduler = folder, model, optimizer, scheduler
        self.device = next(model.parameters()).device
        self.log = torch.empty(0, 2, dtype=torch.float64)  # a row an epoch: mean loss, seconds

    @property
    def next_epoch(self):
        """The epoch, counted from 0, to train next; all before it are saved."""
        return len(self.log)

    @property
    def state_file(self):
        return self.folder / "training_state.pt"

    def epoch_file(self, epoch):
        """Where an epoch's parameters belong."""
        return self.folder / f"epoch_{epoch:02d}.npy"

    def finish_epoch(self, loss, seconds, is_last):
        """Record the epoch whose parameters have just been saved: its mean loss and how many seconds it took.

        The training state takes the place of the one before or, after the last epoch, is deleted: all is done.
        """
        self.log = torch.cat([self.log, torch.tensor([[loss, seconds]], dtype=torch.float64)])
        rows = [(epoch, f"{loss:.6f}", f"{seconds:.2f}") for epoch, (loss, seconds) in enumerate(self.log.tolist())]
        write_csv(self.folder / "training_log.csv", ("epoch", "loss", "seconds"), rows)
        if is_last:
            self.state_file.unlink()
        else:
            self.save_state()

    def save_state(self):
        """Save all that going on takes, in the place of the training state before."""
        with atomic_write(self.state_file) as file:
            try:
                torch.save(self._state(self.optimizer.state_dict()), file)
            except RuntimeError as error:  # raised over the OSError of a full disk
                raise error.__context__ or error from None

    def load_state(self):
        """Go on from the training state in the folder. Raises DamagedState, with nothing loaded, where it can't be."""
        try:
            # Mapped and without pickled code: it can neither run anything nor claim more memory than it has bytes.
            state = torch.load(self.state_file, map_location="cpu", mmap=True, weights_only=True)
            if not _same_form(self._state_after(len(state["log"])), state):
                raise ValueError("its contents are not those of this training")
        except Exception as error:  # noqa: BLE001 (a damaged file makes torch.load raise nearly anything)
            raise DamagedState(f"{shown(self.state_file)} is damaged ({' '.join(str(error).split())})") from error
        state = copy.deepcopy(state)  # out of the file, which will be replaced
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.log = state["log"]
        torch.set_rng_state(state["random"])
        devices.set_random_state(self.device, state["device_random"])

    def _state_after(self, epochs):
        """What a training state has after so many epochs: the right types, shapes and dtypes, but not the values."""
        step = torch.zeros(())
        parameters = enumerate(self.model.parameters())
        moments = {number: {"step": step, "exp_avg": p, "exp_avg_sq": p} for number, p in parameters}
        optimizer_state = self.optimizer.state_dict() | {"state": moments if epochs else {}}
        return self._state(optimizer_state) | {"log": torch.empty(epochs, 2, dtype=torch.float64)}

    def _state(self, optimizer_state):
        return {
            "model": self.model.state_dict(),
            "optimizer": optimizer_state,
            "scheduler": self.scheduler.state_dict(),
            "log": self.log,
            "random": torch.get_rng_state(),
            "device_random": devices.random_state(self.device),
        }


def _same_form(expected, found):
    """Whether `found` has the types, keys, lengths, and its tensors the shapes and dtypes, of `expected`."""
    if isinstance(expected, torch.Tensor):
        is_tensor = isinstance(found, torch.Tensor) and found.layout == torch.strided
        return is_tensor and found.shape == expected.shape and found.dtype == expected.dtype
    if isinstance(expected, dict):
        is_dict = isinstance(found, dict) and found.keys() == expected.keys()
        return is_dict and all(_same_form(value, found[key]) for key, value in expected.items())
    if isinstance(expected, (list, tuple)):
        is_alike = type(found) is type(expected) and len(found) == len(expected)
        return is_alike and all(map(_same_form, expected, found))
    return type(found) is type(expected)


@contextmanager
def _one_line_where_unwritable(checkpoints):
    try:
        yield
    except OSError as error:
        raise UserError(f"{shown(checkpoints)} can't be written ({error}): permit writing there") from error


def _check_room(checkpoints, settings, saved=0):
    """Raise UserError where the disk has too little room for a run's epochs after the `saved` first ones, and for its
    state, which is there twice while it is replaced.
    """
    need = (settings["hyperparameters"]["EPOCHS"] - saved + 2 * 3) * 4 * settings["parameters"]
    free = shutil.disk_usage(checkpoints).free
    if free < need:
        raise UserError(
            f"a run needs {need / 1e9:.1f} GB in {shown(checkpoints)}, where {free / 1e9:.1f} GB are free: make room "
            "or lower EPOCHS or DIM_HIDDEN"
        )


def _unfinished_run(checkpoints, settings):
    """The newest run of the same settings that is unfinished and not open elsewhere, as (folder, its lock), or None."""
    for folder in reversed(all_runs(checkpoints)):
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0.2)
        except (Timeout, OSError):  # in training elsewhere, or not ours to write
            continue
        for left_over in folder.glob(".*.tmp"):
            left_over.unlink()
        is_unfinished = (folder / "training_state.pt").exists() or not epoch_files(folder)
        try:
            its_settings = json.loads((folder / "settings.json").read_text())
            is_same = its_settings["hyperparameters"] == settings["hyperparameters"]
            if is_unfinished and is_same and its_settings["device"] != settings["device"]:
                kind = f"{its_settings['device']}, not on {settings['device']}"
                print(f"{shown(folder)} goes on only where it began, on {kind}", file=sys.stderr)
            is_same = is_same and all(its_settings[name] == settings[name] for name in ("device", "precision"))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            is_same = False
        if is_unfinished and is_same:
            return folder, lock
        lock.release()
    return None


def _new_run(checkpoints, settings):
    """Make the next run, with settings.json in it: (folder, its lock)."""
    _check_room(checkpoints, settings)  # before a folder is made: a refused run leaves none
    number = max((int(path.name[4:]) for path in all_runs(checkpoints)), default=0) + 1
    while True:
        folder = checkpoints / f"run-{number:03d}"
        try:
            folder.mkdir()  # atomic: two trainings started at once get two folders
            break
        except FileExistsError:
            number += 1
    lock = FileLock(folder / ".lock")
    lock.acquire()
    with atomic_write(folder / "settings.json") as file:
        file.write(json.dumps(settings, indent=2).encode())
    return folder, lock
