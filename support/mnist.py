"""MNIST, which torchvision reads: makes sure that it is there, whole and unpacked."""

import hashlib
from pathlib import Path

from filelock import FileLock

from support.errors import UserError
from support.files import shown

DATA_DIR = Path(__file__).parent.parent / "data"
SHA256 = {  # of the unpacked files; torchvision checks the archives alone
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def unpack_mnist(folder):
    """Make sure that torchvision.datasets.MNIST(folder) finds all digits. Where they are whole, nothing is written.

    If a file is missing, damaged or half unpacked, torchvision unpacks the archives, and downloads those that are not
    whole. Two programs may do this at once. Raises UserError if it fails.
    """
    raw = folder / "MNIST" / "raw"
    if not _damaged(raw):
        return
    from torchvision.datasets import MNIST  # here, because it takes a second

    try:
        raw.mkdir(parents=True, exist_ok=True)
        with FileLock(raw / ".lock"):
            if damaged := _damaged(raw):  # else another program has unpacked them meanwhile
                for path in damaged:
                    path.unlink(missing_ok=True)  # torchvision unpacks all if one is missing
                MNIST(folder, download=True)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0]  # torchvision's has several lines
        problem = f"MNIST could not be unpacked in {shown(raw)}, or downloaded ({reason})"
        raise UserError(f"{problem}: take it from the project's repository again, or allow writing there") from error


def _damaged(raw):
    paths = {raw / name: sha256 for name, sha256 in SHA256.items()}
    return [p for p, sha256 in paths.items() if not p.is_file() or hashlib.sha256(p.read_bytes()).hexdigest() != sha256]
