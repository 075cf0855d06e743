"""MNIST is read right, whatever lies in data/, or refused in one line."""

import functools
import gzip
import hashlib
import http.server
import os
import threading
from pathlib import Path

import pytest
import torch
from torchvision.datasets import MNIST

import train
from support.errors import UserError

RAW = train.DATA_DIR / "MNIST" / "raw"
NAMES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CPU = torch.device("cpu")


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """The empty folder of a data folder of the test's own, without a network."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    monkeypatch.setattr(train, "DATA_DIR", tmp_path / "data")
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    return raw


def put(raw, packed=(), unpacked=()):
    """Copy archives of the test digits, and the files in them, into a folder."""
    for name in NAMES:
        archive = (RAW / f"{name}.gz").read_bytes()
        if name in packed:
            (raw / f"{name}.gz").write_bytes(archive)
        if name in unpacked:
            (raw / name).write_bytes(gzip.decompress(archive))


def contents(folder):
    """The bytes of all files in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_archives_are_the_official_ones():
    for name, md5 in MNIST.resources:
        content = (train.DATA_DIR / "MNIST" / "raw" / name).read_bytes()
        assert hashlib.md5(content).hexdigest() == md5, name
        assert md5 in (train.DATA_DIR / "README.md").read_text()


def test_mnist_has_its_counts_ranges_and_first_labels(training_digits, test_digits):
    first = [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    for (images, labels), count, head in zip((training_digits, test_digits), (60_000, 10_000), first, strict=True):
        assert images.shape == (count, 1, 28, 28)
        assert images.dtype == torch.uint8
        assert (images.min(), images.max()) == (0, 255)
        assert labels.dtype == torch.int64
        assert labels[:10].tolist() == head
        assert labels.unique().tolist() == list(range(10))


@pytest.mark.parametrize(("packed", "unpacked"), [(NAMES, ()), ((), NAMES), (NAMES[:1], NAMES[1:])])
def test_archives_or_what_is_in_them_will_do_and_nothing_is_written(raw, test_digits, packed, unpacked):
    put(raw, packed, unpacked)
    before = contents(raw)
    images, labels = train.load_mnist(train=False, device=CPU)
    assert torch.equal(images, test_digits[0])
    assert torch.equal(labels, test_digits[1])
    assert contents(raw) == before
    assert [path.name for path in train.DATA_DIR.iterdir()] == ["MNIST"]


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


def zeroed(path):
    path.write_bytes(path.read_bytes()[:16] + bytes(path.stat().st_size - 16))


def one_byte_other(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def bomb(path):
    path.write_bytes(gzip.compress(bytes(200_000_000)))


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut_short, zeroed, one_byte_other, bomb, pipe, folder, Path.unlink])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_damaged_is_not_taken_and_nothing_is_deleted(raw, test_digits, damage, name):
    put(raw, NAMES, NAMES)
    damage(raw / name)
    images, labels = train.load_mnist(train=False, device=CPU)  # by the archive
    assert torch.equal(images, test_digits[0])
    assert torch.equal(labels, test_digits[1])
    damage(raw / f"{name}.gz")
    before = contents(raw)
    with pytest.raises(UserError, match=rf"{name}.gz is missing or damaged, and can't be downloaded"):
        train.load_mnist(train=False, device=CPU)
    assert contents(raw) == before


def test_a_lock_that_another_left_over_is_not_waited_for(raw):
    put(raw, NAMES)
    (train.DATA_DIR / ".lock").mkdir()
    train.load_mnist(train=False, device=CPU)


@pytest.fixture
def mirror(raw, monkeypatch):
    """A function that makes a folder the only mirror of MNIST."""
    servers = []

    def serve(folder):
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[0].serve_forever, daemon=True).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{servers[0].server_port}/"])

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_what_is_missing_is_downloaded_once(raw, mirror, monkeypatch, test_digits):
    raw.rmdir()
    raw.parent.rmdir()
    raw.parent.parent.rmdir()
    mirror(RAW)
    images, labels = train.load_mnist(train=False, device=CPU)
    assert torch.equal(images, test_digits[0])
    assert torch.equal(labels, test_digits[1])
    monkeypatch.setattr(MNIST, "mirrors", [])
    assert torch.equal(train.load_mnist(train=False, device=CPU)[0], images)
    assert sorted(path.name for path in raw.iterdir()) == [f"{name}.gz" for name in NAMES]


def test_digits_are_downloaded_each_time_where_nothing_may_be_written(raw, mirror, monkeypatch, test_digits):
    raw.rmdir()
    raw.write_text("in the way")
    mirror(RAW)
    assert torch.equal(train.load_mnist(train=False, device=CPU)[0], test_digits[0])


def test_what_a_mirror_sends_is_checked(raw, mirror, tmp_path):
    (tmp_path / "mirror").mkdir()
    for name in NAMES:
        (tmp_path / "mirror" / f"{name}.gz").write_bytes(gzip.compress(b"no digits"))
    mirror(tmp_path / "mirror")
    with pytest.raises(UserError, match="can't be downloaded"):
        train.load_mnist(train=False, device=CPU)
    assert not list(raw.iterdir())
