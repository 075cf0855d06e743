"""What several test files use: real digits, a small training, a hostile pickle, a copy of the project."""

import os
import shutil
import signal
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported: the tests run in a process for each core

import pytest
import torch

import train
from benchmarks import handwriting
from handwriting import SMALL
from support.device import CPU
from support.runs import last_epoch

has_pgrep = pytest.mark.skipif(not shutil.which("pgrep"), reason="Windows lists its processes in other ways")
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
NARROW = [4, 8, 16, 32, 16]  # widths
TRAINED = last_epoch(SMALL)[1]  # the parameters that come with the program


@pytest.fixture(scope="session")
def training_digits():
    """All of MNIST's training digits: images uint8 [60000, 1, 28, 28], labels int64 [60000]."""
    return train.load_mnist(train=True, device=torch.device("cpu"))


@pytest.fixture(scope="session")
def test_digits():
    """All of MNIST's test digits: images uint8 [10000, 1, 28, 28], labels int64 [10000]."""
    return train.load_mnist(train=False, device=torch.device("cpu"))


@pytest.fixture(scope="session")
def digits(test_digits):
    """MNIST's test digits as NumPy arrays: uint8 [10000, 28, 28], int64 [10000]."""
    return test_digits[0][:, 0].numpy(), test_digits[1].numpy()


@pytest.fixture(scope="session")
def source(digits):
    """A Source of MNIST's test digits, pen digits and fonts that pip installs."""
    return handwriting.source(*digits)


def set_small(patch, checkpoints, digits, epochs):
    """Set train.py to train a small network on the CPU on 512 of the digits, with runs in `checkpoints`."""
    images, labels = digits
    patch.setattr("support.device.best_device", lambda: CPU)
    patch.setattr(train, "load_mnist", lambda train, device: (images[:512], labels[:512]))
    patch.setattr(train, "CHECKPOINTS_DIR", checkpoints)
    patch.setattr(train, "DIM_HIDDEN", NARROW)
    patch.setattr(train, "EPOCHS", epochs)


@pytest.fixture
def small_training(monkeypatch, tmp_path, training_digits):
    """train.py set to train a small network for two epochs, in a folder of the test's own."""
    set_small(monkeypatch, tmp_path / "checkpoints", training_digits, epochs=2)
    return train


class Mark:
    """When unpickled, it creates a folder as a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def copy_project(folder):
    """Copy the three scripts and what they need into a folder, sharing the data, to run them as a user does."""
    for name in ("Model.py", "train.py", "test.py"):
        shutil.copy(train.ROOT / name, folder)
    for name in ("support", "handwriting"):
        shutil.copytree(train.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").symlink_to(train.DATA_DIR)


def renderers(project):
    """The processes, as a list of their numbers, that render a PDF for a copy of the project."""
    found = subprocess.run(["pgrep", "-f", f"{project}/handwriting/render_pdf.py"], stdout=subprocess.PIPE, text=True)
    return found.stdout.split()


def renderers_end(project):
    """Whether all of them have ended within 10 s; each would end by itself after 30 s."""
    deadline = time.monotonic() + 10
    while renderers(project) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not renderers(project)


def start(folder, *command, **environment):
    """Start Python with a command in a folder and return its process, whose output is piped."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *command], cwd=folder, env=os.environ | environment, text=True, **pipes)
