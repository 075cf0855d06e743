"""Files are whole: written completely or not at all, and read only if their checksums hold."""

import csv
import hashlib
import io
import os
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from support.errors import UserError

DATA_DIR = Path(__file__).parent.parent / "data"
SHA256 = {  # of MNIST's unpacked files; torchvision checks the archives alone
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def shown(path):
    """A path as a user would type it, a string: relative to the current folder if it is inside it."""
    path = Path(path).absolute()
    return (path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path).as_posix()


@contextmanager
def atomic_write(path):
    """Yield a binary file that gets the name `path` only when it is complete and on the disk, or raise UserError."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")  # what a killed process left there is overwritten
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        problem = f"{shown(path)} could not be written ({error.strerror or error})"
        raise UserError(f"{problem}: free some disk space, or allow writing there") from error
    finally:
        with suppress(OSError):  # the error above says more
            temporary.unlink(missing_ok=True)


def write_csv(path, header, rows, encoding="utf-8"):
    """Write a CSV file of a header and rows, atomically. Raises UserError if it can't be written."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode(encoding, "backslashreplace"))  # a file's name may not be Unicode


@contextmanager
def checked_zip(path, advice):
    """Test the checksums of the zip file `path`, then let it be read: any error becomes a UserError with the advice."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            is_compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            if is_compressed or sum(member.file_size for member in members) > Path(path).stat().st_size:
                raise ValueError("its members are compressed, or claim to be larger than the file")
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} is wrong")
        yield
    except Exception as error:  # a damaged file makes libraries raise nearly anything
        raise UserError(f"{shown(path)} is missing or damaged ({error}): {advice}") from error


def save_weights(path, tensors):
    """Save a dict from names to tensors as an .npz file, atomically, with np.savez: an array for each, no pickle."""
    with atomic_write(path) as file:
        np.savez(file, **{name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()})


def load_weights(path):
    """The dict from names to tensors, on the CPU, that save_weights wrote. A file can't run code or fill the memory.

    Raises a UserError that names the file if a checksum is wrong or it is no .npz file of finite numbers.
    """
    with checked_zip(path, "replace it with a good copy, or use another"), np.load(path, allow_pickle=False) as arrays:
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if not all(tensor.isfinite().all() for tensor in tensors.values()):  # a training that diverged
            raise ValueError("some of its numbers are NaN or infinite")
        return tensors


def unpack_mnist(folder):
    """Make sure that torchvision.datasets.MNIST(folder) finds all digits. Where they are whole, nothing is written.

    Otherwise it unpacks the archives, and downloads damaged ones. Two programs may do so at once. Raises UserError.
    """
    raw = folder / "MNIST" / "raw"
    if not _damaged(raw):
        return
    from torchvision.datasets import MNIST  # here, because it takes a second

    try:
        raw.mkdir(parents=True, exist_ok=True)
        with FileLock(raw / ".lock"):
            for path in _damaged(raw):  # none if another program has unpacked them meanwhile
                path.unlink(missing_ok=True)
            MNIST(folder, download=True)  # unpacks all if one is missing
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0]  # torchvision's has several lines
        problem = f"MNIST could not be unpacked in {shown(raw)}, or downloaded ({reason})"
        raise UserError(f"{problem}: take it from the project's repository again, or allow writing there") from error


def _damaged(raw):
    paths = {raw / name: sha256 for name, sha256 in SHA256.items()}
    return [p for p, sha256 in paths.items() if not p.is_file() or hashlib.sha256(p.read_bytes()).hexdigest() != sha256]
