"""The run folders checkpoints/run-001, run-002, …: which there are, the newest, its epochs, the best of them."""

import re

from support.errors import UserError
from support.files import read_column, shown

RUN, EPOCH = re.compile(r"run-([0-9]+)"), re.compile(r"epoch_([0-9]{1,9})\.npz")
FILES_OF_A_RUN = ("settings.json", "training_log.csv", "training_state.pt", "accuracy.csv")


def all_runs(checkpoints):
    """The run folders in `checkpoints`, oldest first."""
    return [path for path in _numbered(checkpoints, RUN).values() if path.is_dir()]


def epoch_files(folder):
    """The saved epochs of a run: a dict from the epoch, counted from 0, to its parameter file, in order."""
    return _numbered(folder, EPOCH)


def _numbered(folder, name):
    paths = folder.iterdir() if folder.is_dir() else ()
    paths = {int(match[1]): path for path in paths if (match := name.fullmatch(path.name))}
    return dict(sorted(paths.items()))


def is_run(path):
    """Whether a path is a run's folder: by its name, or by what is in it."""
    try:
        if not path.is_dir():
            return False
        is_named, names = RUN.fullmatch(path.name), FILES_OF_A_RUN
        return bool(is_named or epoch_files(path) or any((path / name).exists() for name in names))
    except OSError:  # a name too long, a folder that may not be read
        return False


def newest_run(checkpoints, with_epoch=False):
    """The folder of the newest run, or the newest of those with an epoch if any; a UserError where there is none."""
    runs = all_runs(checkpoints)
    if not runs:
        raise UserError(f"no run in {shown(checkpoints)} yet: python train.py makes one")
    return next((run for run in reversed(runs) if with_epoch and epoch_files(run)), runs[-1])


def saved_epochs(folder):
    """A run's epoch_files, of which there is at least one; a UserError where there is none."""
    epochs = epoch_files(folder)
    if not epochs and any(folder.glob("epoch_*.npy")):
        raise UserError(f"the epochs of {shown(folder)} are .npy files of an earlier version: train them again")
    if not epochs:
        raise UserError(f"{shown(folder)} has no epoch yet: wait for its first one, or name another run")
    return epochs


def best_epoch(folder):
    """A run's best epoch and its parameter file: by accuracy.csv, or the last where that does not tell of all."""
    epochs, accuracies = saved_epochs(folder), read_column(folder / "accuracy.csv", "accuracy")
    epoch = max(epochs, key=accuracies.get) if epochs.keys() <= accuracies.keys() else max(epochs)
    return epoch, epochs[epoch]
