"""MNIST is read whole, or refused in one line."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
import torch
import torchvision

import train
from support import files
from support.errors import UserError
from support.files import unpack_mnist


def test_mnist_has_60000_training_digits_and_10000_test_digits(training_digits, test_digits):
    for (images, labels), count in ((training_digits, 60_000), (test_digits, 10_000)):
        assert (images.shape, images.dtype) == ((count, 1, 28, 28), torch.uint8)
        assert (labels.shape, labels.dtype) == ((count,), torch.int64)


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """The folder of the archives in a fresh clone without a network; `tmp_path` is its data/."""
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])  # refuses connections
    raw = tmp_path / "MNIST" / "raw"
    shutil.copytree(train.DATA_DIR / "MNIST" / "raw", raw, ignore=shutil.ignore_patterns("*-ubyte"))
    return raw


def contents(raw):
    """What is in the unpacked files."""
    return {path.name: path.read_bytes() for path in raw.glob("*-ubyte")}


def test_digits_that_are_damaged_half_unpacked_or_empty_are_unpacked_again(tmp_path, raw):
    unpack_mnist(tmp_path)
    whole, path = contents(raw), raw / "train-images-idx3-ubyte"
    for damaged in (whole[path.name][::-1], whole[path.name][:99_999], b""):
        path.write_bytes(damaged)
        unpack_mnist(tmp_path)
        assert contents(raw) == whole


def test_where_the_digits_are_whole_nothing_is_written_and_no_archive_is_needed(tmp_path, raw):
    unpack_mnist(tmp_path)
    for path in (raw / ".lock", *raw.glob("*.gz")):
        path.unlink(missing_ok=True)
    before = {path: path.stat().st_mtime_ns for path in raw.iterdir()}
    unpack_mnist(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in raw.iterdir()} == before


def test_of_two_programs_that_start_at_once_one_unpacks_and_the_other_waits(tmp_path, raw, monkeypatch):
    both, lock = threading.Barrier(2), files.FileLock  # both have seen that nothing is unpacked
    monkeypatch.setattr(files, "FileLock", lambda path: both.wait(timeout=60) is not None and lock(path))
    unpacking = mock.Mock(wraps=torchvision.datasets.mnist.download_and_extract_archive)
    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", unpacking)
    with ThreadPoolExecutor(2) as programs:
        list(programs.map(unpack_mnist, [tmp_path] * 2))
    assert unpacking.call_count == 4  # of the archives
    assert len(contents(raw)) == 4


def test_an_archive_that_is_damaged_and_can_not_be_downloaded_is_named(tmp_path, raw):
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte.gz.*take it from the project's repository again"):
        unpack_mnist(tmp_path)


def test_a_folder_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "MNIST").touch()
    with pytest.raises(UserError, match=r"MNIST/raw.*allow writing there"):
        unpack_mnist(tmp_path)
