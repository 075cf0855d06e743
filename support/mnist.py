"""MNIST, read from its official archives and known by its content."""

import gzip
import hashlib
import io
import urllib.request
from contextlib import suppress

import torch

from support.errors import UserError
from support.files import atomic_write

SHA256 = {  # of the files in the archives
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MAX_BYTES = 50_000_000


def read_mnist(folder, part):
    """The training digits (part "train") or the test digits ("t10k"), on the CPU, from `folder`/MNIST/raw.

    Returns (images, labels): uint8 [N, 1, 28, 28] in 0..255, and int64 [N] in 0..9. Every byte is checked, and nothing
    is written there but an archive that was missing or damaged and is downloaded. Raises UserError where that fails.
    """
    raw = folder / "MNIST" / "raw"
    images, labels = _content(raw, f"{part}-images-idx3-ubyte"), _content(raw, f"{part}-labels-idx1-ubyte")
    images = torch.frombuffer(images, dtype=torch.uint8, offset=16).view(-1, 1, 28, 28)
    return images, torch.frombuffer(labels, dtype=torch.uint8, offset=8).long()


def _content(raw, name):
    """The bytes of one of MNIST's files: from its archive, or unpacked (as torchvision leaves it), or downloaded."""
    archive = raw / f"{name}.gz"
    for path, opened in ((archive, gzip.open), (raw / name, open)):
        with suppress(Exception):  # missing, unreadable or damaged: the next one may be whole
            if path.is_file():  # a pipe would be waited for
                with opened(path, "rb") as file:
                    return _checked(file, name)
    from torchvision.datasets import MNIST  # here, because it takes seconds, and is hardly ever needed

    reason = None
    for mirror in MNIST.mirrors:
        try:
            with urllib.request.urlopen(mirror + archive.name, timeout=30) as response:
                packed = response.read(MAX_BYTES)
            content = _checked(gzip.GzipFile(fileobj=io.BytesIO(packed)), name)
        except Exception as error:  # noqa: BLE001 (no network, or anything that somebody else's server sends)
            reason = error
            continue
        with suppress(UserError, OSError):  # where nothing may be written it is downloaded each time
            raw.mkdir(parents=True, exist_ok=True)
            with atomic_write(archive) as file:
                file.write(packed)
        return content
    raise UserError(f"{archive} is missing or damaged, and can't be downloaded ({reason}): copy it there")


def _checked(file, name):
    content = file.read(MAX_BYTES)  # no more, whatever an archive claims
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise ValueError(f"{name} is not MNIST's")
    return bytearray(content)  # which a tensor may share
