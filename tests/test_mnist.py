"""MNIST is read correctly, or refused in one line."""

import shutil
from pathlib import Path

import pytest
import torch

import train
from support.errors import UserError
from support.mnist import read_mnist


def test_mnist_has_its_counts_and_first_labels(training_digits, test_digits):
    first = [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    for (images, labels), count, head in zip((training_digits, test_digits), (60_000, 10_000), first, strict=True):
        assert images.shape == (count, 1, 28, 28)
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        assert labels[:10].tolist() == head


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip_a_bit, Path.unlink])
def test_an_archive_that_is_missing_or_damaged_is_named(tmp_path, damage):
    shutil.copytree(train.DATA_DIR / "MNIST", tmp_path / "MNIST")
    damage(tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz")
    with pytest.raises(UserError, match="gz is missing or damaged: download it again from the project's repository"):
        read_mnist(tmp_path, "t10k")
