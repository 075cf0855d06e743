"""MNIST: the archives that come with the project, checked."""

import gzip
import hashlib

import torch

from support.errors import UserError
from support.files import shown

SHA256 = {  # of the official archives
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def read_mnist(folder, part):
    """The training digits (part "train") or the test digits ("t10k"), on the CPU, from `folder`/MNIST/raw.

    Returns (images, labels): uint8 [N, 1, 28, 28] in 0..255, and int64 [N] in 0..9. Raises UserError if an archive
    is missing or differs from the official one.
    """
    raw = folder / "MNIST" / "raw"
    images, labels = _content(raw / f"{part}-images-idx3-ubyte.gz"), _content(raw / f"{part}-labels-idx1-ubyte.gz")
    images = torch.frombuffer(images, dtype=torch.uint8, offset=16).view(-1, 1, 28, 28)
    return images, torch.frombuffer(labels, dtype=torch.uint8, offset=8).long()


def _content(archive):
    """The bytes of the file in an archive of MNIST, as a bytearray, whose memory a tensor may share."""
    packed = archive.read_bytes() if archive.is_file() else b""
    if hashlib.sha256(packed).hexdigest() != SHA256[archive.name]:
        raise UserError(f"{shown(archive)} is missing or damaged: download it again from the project's repository")
    return bytearray(gzip.decompress(packed))
