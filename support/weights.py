"""Saves and loads weights: tensors by name, in an .npz file that is refused if it is damaged."""

import numpy as np
import torch

from support.files import atomic_write, checked_zip


def save_weights(path, tensors):
    """Save a dict from names to tensors as an .npz file, atomically, with np.savez: an array for each, no pickle."""
    with atomic_write(path) as file:
        np.savez(file, **{name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()})


def load_weights(path):
    """The dict from names to tensors, on the CPU, that save_weights wrote to `path`.

    Raises a UserError that names the file if a checksum is wrong or it is no .npz file of finite numbers. A file may
    come from anybody: it can't run code or claim more memory than its own size.
    """
    with checked_zip(path, "replace it with a good copy, or use another"):
        with np.load(path, allow_pickle=False) as arrays:
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if not all(tensor.isfinite().all() for tensor in tensors.values()):  # a training that diverged
            raise ValueError("some of its numbers are NaN or infinite")
        return tensors
