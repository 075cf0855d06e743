"""Saves and loads weights: tensors by name, in an .npz file that is refused if it is damaged."""

import zipfile
from pathlib import Path

import numpy as np
import torch

from support.errors import UserError
from support.files import atomic_write, shown


def save_weights(path, tensors):
    """Save a dict from names to tensors as the .npz file `path`, with np.savez: an array for each tensor, no pickle.

    Atomic: `path` holds the complete file, or what it held before. Raises UserError if it can't be written.
    """
    with atomic_write(path) as file:
        np.savez(file, **{name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()})


def load_weights(path):
    """The dict from names to tensors, on the CPU, that save_weights wrote to `path`.

    Raises a UserError that names the file if a checksum is wrong or it is no .npz file of finite numbers. A file may
    come from anybody: it can't run code or claim more memory than its own size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > Path(path).stat().st_size:
                raise ValueError("its arrays are compressed, or claim to be larger than the file")
            if damaged := archive.testzip():  # np.load alone misses some damage to an array's header
                raise ValueError(f"the checksum of {damaged} is wrong")
        with np.load(path, allow_pickle=False) as arrays:
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if not all(tensor.isfinite().all() for tensor in tensors.values()):  # a training that diverged
            raise ValueError("some of its numbers are NaN or infinite")
        return tensors
    except Exception as error:  # noqa: BLE001 (a damaged file makes the libraries raise nearly anything)
        problem = f"{shown(path)} is missing or damaged, or holds no weights ({error})"
        raise UserError(f"{problem}: replace it with a good copy, or use another") from error
