"""The training state: all that going on with a training takes, saved, checked and loaded."""

import copy
import errno
import zipfile

import torch

from support import device as devices
from support.files import atomic_write


class DamagedState(Exception):
    """A training state that can't be gone on from."""


def save_state(path, model, optimizer, scheduler, log):
    """Save a training's state, with its log, float64 [epochs, 2]. Raises UserError where it can't be written."""
    with atomic_write(path) as file:
        try:
            torch.save(_state(model, optimizer.state_dict(), scheduler, log), file)
        except RuntimeError as error:  # raised over the OSError of a full disk
            raise error.__context__ or error from None


def load_state(path, model, optimizer, scheduler):
    """Load a training's state into what it is of, and into the random number generators. Returns the log.

    Where that can't be, nothing is loaded: it raises OSError where the file can't be read, and DamagedState where it
    doesn't hold what save_state wrote for such a training.
    """
    device = _device(model)
    random_before = devices.random_state(device)
    if not path.is_file():  # a pipe would be waited for
        raise OSError(f"{path} is not a file")
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:  # PyTorch saves checksums, but doesn't look at them
                if damaged := archive.testzip():
                    raise ValueError(f"other bytes in {damaged} than were saved")
            # Mapped and without pickled code: it can neither run anything nor claim more memory than it has bytes.
            state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
            if not _same_form(_state_after(len(state["log"]), model, optimizer, scheduler), state):
                raise ValueError("its contents are not those of this training")
            if not all(tensor.isfinite().all() for tensor in _tensors(state)):
                raise ValueError("not all its numbers are finite")
            devices.set_random_state(device, state["random"])
        except Exception as error:
            devices.set_random_state(device, random_before)
            if getattr(error, "errno", None) == errno.EIO:
                raise
            raise DamagedState(" ".join(str(error).split())) from error  # whatever a damaged file makes them raise
    state = copy.deepcopy(state)  # out of the file, which will be replaced
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    return state["log"]


def _device(model):
    return next(model.parameters()).device


def _state(model, optimizer_state, scheduler, log):
    return {
        "model": model.state_dict(),
        "optimizer": optimizer_state,
        "scheduler": scheduler.state_dict(),
        "log": log,
        "random": devices.random_state(_device(model)),
    }


def _state_after(epochs, model, optimizer, scheduler):
    """What a training state has after so many epochs: the right types, shapes and dtypes, but not the values."""
    step = torch.zeros(())
    moments = {number: {"step": step, "exp_avg": p, "exp_avg_sq": p} for number, p in enumerate(model.parameters())}
    optimizer_state = optimizer.state_dict() | {"state": moments if epochs else {}}
    return _state(model, optimizer_state, scheduler, torch.empty(epochs, 2, dtype=torch.float64))


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


def _tensors(state):
    """All tensors in a state's dicts."""
    if isinstance(state, dict):
        return [tensor for value in state.values() for tensor in _tensors(value)]
    return [state] if isinstance(state, torch.Tensor) else []
