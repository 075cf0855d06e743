"""The run folders checkpoints/run-001, run-002, …: settings, epochs, training log; and the checks before a run."""

import csv
import io
import json
import math
import platform
import shutil
from pathlib import Path

import numpy as np
import torch
import torchvision

from support.errors import UserError
from support.files import atomic_write


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


class Run:
    """A new run: its folder below `checkpoints`, with settings.json in it.

    hyperparameters: dict of train.py's. parameters: how many the network has. Raises UserError where the folder
    can't be written or the disk has too little room for all epochs.
    """

    def __init__(self, checkpoints, hyperparameters, device, precision, parameters):
        self.log = []
        need = hyperparameters["EPOCHS"] * parameters * 4
        try:
            checkpoints.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(checkpoints).free
            if free < need:
                raise UserError(
                    f"{hyperparameters['EPOCHS']} epochs need {need / 1e9:.1f} GB in {shown(checkpoints)}, where "
                    f"{free / 1e9:.1f} GB are free: make room or lower EPOCHS or DIM_HIDDEN"
                )
            self.folder = _new_folder(checkpoints)
        except OSError as error:
            raise UserError(f"{shown(checkpoints)} can't be written ({error}): permit writing there") from error
        settings = {
            "hyperparameters": hyperparameters,
            "device": str(device),
            "precision": str(precision).removeprefix("torch."),
            "parameters": parameters,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
                "numpy": np.__version__,
            },
        }
        with atomic_write(self.folder / "settings.json") as file:
            file.write(json.dumps(settings, indent=2).encode())

    def epoch_file(self, epoch):
        """Where an epoch's parameters belong."""
        return self.folder / f"epoch_{epoch:02d}.npy"

    def add_to_log(self, epoch, loss, seconds):
        """Add a row to training_log.csv: the epoch, its mean training loss, and how many seconds it took."""
        self.log.append((epoch, f"{loss:.6f}", f"{seconds:.2f}"))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("epoch", "loss", "seconds"), *self.log])
        with atomic_write(self.folder / "training_log.csv") as file:
            file.write(text.getvalue().encode())


def _new_folder(checkpoints):
    """Make the next run's folder. mkdir is atomic: two trainings started at once get two folders."""
    number = max((int(path.name[4:]) for path in all_runs(checkpoints)), default=0) + 1
    while True:
        folder = checkpoints / f"run-{number:03d}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
