"""Run folders, checkpoints/run-001, run-002, …: finding them, and opening the one to train in."""

import json
import re
import shutil
from contextlib import contextmanager, suppress

import torch
from filelock import FileLock, Timeout

from support.device import device_name
from support.errors import UserError
from support.files import atomic_write, checked_zip, shown, write_csv

RUN, EPOCH = re.compile(r"run-([0-9]+)"), re.compile(r"epoch_([0-9]+)\.npz")
STATE = "training_state.pt"  # of an unfinished run; a run without one is complete


def all_runs(checkpoints):
    """The run folders in `checkpoints`, oldest first."""
    return list(_numbered(checkpoints, RUN).values())


def epoch_files(folder):
    """The saved epochs of a run: a dict from the epoch, counted from 0, to its parameter file, in order."""
    return _numbered(folder, EPOCH)


def _numbered(folder, name):
    return dict(sorted((int(match[1]), path) for path in folder.glob("*") if (match := name.fullmatch(path.name))))


def is_run(path):
    """Whether a path is a run's folder: by its name, or by an epoch in it."""
    return path.is_dir() and bool(RUN.fullmatch(path.name) or epoch_files(path))


def newest_run(checkpoints, otherwise):
    """The newest run that has an epoch, or else `otherwise`."""
    return next((run for run in reversed(all_runs(checkpoints)) if epoch_files(run)), otherwise)


def last_epoch(folder):
    """A run's last epoch and its parameter file: (epoch, path). Raises UserError if there is none."""
    if not (epochs := epoch_files(folder)):
        raise UserError(f"{shown(folder)} has no epoch yet: run python train.py, or name another run")
    return list(epochs.items())[-1]


@contextmanager
def open_run(checkpoints, hyperparameters, precision, model, optimizer, scheduler):
    """Yield the Run to train in: the newest unfinished one with the same settings, or else a new one.

    A resumed run's state is loaded into model, optimizer and scheduler. A line says why another run is not resumed.
    Only one program can have a run open. Raises UserError if the state is damaged or the disk has too little space.
    """
    device = next(model.parameters()).device
    precision = str(precision).removeprefix("torch.")
    settings = json.dumps(hyperparameters | {"device": device.type, "precision": precision}, indent=2)
    checkpoints.mkdir(parents=True, exist_ok=True)
    folder, lock, is_new = _claimed_run(checkpoints, json.loads(settings))
    run = Run(folder, hyperparameters["EPOCHS"], {"model": model, "optimizer": optimizer, "scheduler": scheduler})
    with lock:
        if is_new:
            with atomic_write(folder / "settings.json") as file:
                file.write(settings.encode())
            run.save_state()
        else:
            with checked_zip(folder / STATE, "delete it, and python train.py starts a new run"):
                state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
                for name, part in run.training.items():
                    part.load_state_dict(state[name])
                run.log = state["log"]
        run.check_room()
        begins, where = "resuming" if run.log else "starting", f"{device_name(device)} in {precision}"
        print(f"{begins} {shown(folder)}: epochs {len(run.log)} to {run.epochs - 1} on {where}", flush=True)
        yield run


class Run:
    """The run to train in: its folder, its log, and what is saved there besides the parameters."""

    def __init__(self, folder, epochs, training):
        self.folder, self.epochs, self.training = folder, epochs, training
        self.log = []  # of each finished epoch: mean loss, seconds

    def finish_epoch(self, loss, seconds):
        """Record the epoch whose parameters have just been saved: its mean loss and how many seconds it took."""
        self.log.append((loss, seconds))
        rows = [(epoch, f"{loss:.6f}", f"{seconds:.2f}") for epoch, (loss, seconds) in enumerate(self.log)]
        write_csv(self.folder / "training_log.csv", ("epoch", "loss", "seconds"), rows)
        if len(self.log) < self.epochs:
            self.save_state()
        else:
            (self.folder / STATE).unlink()

    def check_room(self):
        """Raise UserError if the disk has too little space for the remaining epochs."""
        size = 4 * sum(p.numel() for p in self.training["model"].parameters())  # bytes: of an epoch
        states = 2 * 3 * size - (self.folder / STATE).stat().st_size  # with Adam's moments; a new one beside the last
        need, free = (self.epochs - len(self.log) - 1) * size + states, shutil.disk_usage(self.folder).free
        if need > free:
            room = f"the run needs {need / 1e6:,.0f} MB in {shown(self.folder)}, but only {free / 1e6:,.0f} MB are free"
            raise UserError(f"{room}: free some disk space, or lower EPOCHS or DIM_HIDDEN")

    def save_state(self):
        """Save all that is needed to resume: the log, the parameters, Adam's moments and the scheduler's step."""
        state = {"log": self.log} | {name: part.state_dict() for name, part in self.training.items()}
        with atomic_write(self.folder / STATE) as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # hides the OSError of a full disk
                raise error.__context__ or error from None


def _claimed_run(checkpoints, settings):
    """The run to train in, locked: (folder, lock, whether it is new). Says why other runs are not resumed."""
    ended = False  # whether a run that ended with these settings has been named: one is enough
    for folder in reversed(all_runs(checkpoints)):
        try:
            its = dict(json.loads((folder / "settings.json").read_text(encoding="utf-8")))
            both = ((name, its.get(name, "not set"), settings.get(name, "not set")) for name in its | settings)
            changes = {name: f"{name} was {old}, now {new}" for name, old, new in both if old != new}
        except (OSError, ValueError, TypeError):
            its, changes = {}, {"settings.json": "its settings.json can't be read"}
        epochs, total = len(epoch_files(folder)), its.get("EPOCHS", "?")
        if (folder / STATE).exists():
            if not changes and (lock := _locked(folder)):
                return folder, lock, False
            why = ", ".join(changes.values()) or "another program is training it"
        elif ended or not epochs or changes.keys() - {"EPOCHS"}:
            continue
        else:
            whole = f"it is complete, and its learning-rate schedule was for {total} epochs"
            ended, why = True, whole if epochs == total else f"its {STATE} is missing"
        print(f"{shown(folder)} ({epochs} of {total} epochs) is not resumed: {why}", flush=True)
    number = max(_numbered(checkpoints, RUN), default=1)
    while True:
        folder = checkpoints / f"run-{number:03d}"
        folder.mkdir(exist_ok=True)
        if not epoch_files(folder) and (lock := _locked(folder)):  # the newest run is reused if it has no epoch
            (folder / STATE).unlink(missing_ok=True)
            return folder, lock, True
        number += 1


def _locked(folder):
    """The lock of a run's folder, held until its context ends, or None if another program holds it."""
    with suppress(Timeout):
        return FileLock(folder / ".lock").acquire(timeout=0)
