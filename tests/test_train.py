import csv
import functools
import hashlib
import http.server
import json
import shutil
import threading

import numpy as np
import pytest
import torch
from conftest import SMALL
from torchvision.datasets import MNIST

import train
from Model import myCNN
from support.errors import UserError


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


def test_a_damaged_archive_is_one_line_without_a_network(tmp_path, monkeypatch):
    shutil.copytree(train.DATA_DIR, tmp_path / "data", ignore=shutil.ignore_patterns("*-ubyte", ".lock"))
    archive = tmp_path / "data" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    archive.write_bytes(archive.read_bytes()[:-100])
    monkeypatch.setattr(train, "DATA_DIR", tmp_path / "data")
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte.gz"):
        train.load_mnist(train=False, device=torch.device("cpu"))


def test_a_half_unpacked_file_is_unpacked_again(tmp_path, monkeypatch, test_digits):
    shutil.copytree(train.DATA_DIR, tmp_path / "data", ignore=shutil.ignore_patterns(".lock"))
    unpacked = tmp_path / "data" / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    monkeypatch.setattr(train, "DATA_DIR", tmp_path / "data")
    for length in (0, 3, 1_000_000):
        unpacked.write_bytes(unpacked.read_bytes()[:length])
        images, _ = train.load_mnist(train=False, device=torch.device("cpu"))
        assert torch.equal(images, test_digits[0])


def test_every_digit_is_seen_once_an_epoch_in_a_new_order(monkeypatch, training_digits):
    images, labels = training_digits
    seen = []

    def step(model, optimizer, scheduler, batch, labels, precision):
        seen.append(batch)
        return torch.zeros(())

    monkeypatch.setattr(train, "train_step", step)
    numbered = torch.arange(1000)
    for _ in range(2):
        train.train_epoch(myCNN(SMALL), None, None, numbered, labels[:1000], torch.float32, "epoch")
    assert [len(batch) for batch in seen[:16]] == [64] * 15 + [40]
    first, second = torch.cat(seen[:16]), torch.cat(seen[16:])
    assert torch.equal(first.sort().values, numbered)
    assert torch.equal(second.sort().values, numbered)
    assert not torch.equal(first, second)


def test_the_loss_falls_on_a_small_slice(small_training, monkeypatch):
    monkeypatch.setattr(train, "EPOCHS", 5)
    train.main()
    with (train.CHECKPOINTS_DIR / "run-001" / "training_log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert float(rows[-1]["loss"]) < 0.6 * float(rows[0]["loss"])


def test_a_run_has_its_settings_and_one_file_an_epoch(small_training, capsys):
    train.main()
    train.main()
    for run in ("run-001", "run-002"):
        folder = train.CHECKPOINTS_DIR / run
        files = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        assert files == {"settings.json", "training_log.csv", "epoch_00.npy", "epoch_01.npy"}
        settings = json.loads((folder / "settings.json").read_text())
        assert settings["hyperparameters"]["DIM_HIDDEN"] == SMALL
        assert settings["hyperparameters"]["LEARNING_RATE"] == 0.001
        assert settings["versions"]["torch"] == torch.__version__
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("training on ")
    assert "parameters, saved in " in lines[0]
    assert lines[1].startswith("epoch 1/2: loss ")
    assert lines[2].startswith("epoch 2/2: loss ")
    assert len(lines) == 6


@pytest.mark.parametrize(
    "settings", [{}, {"AUGMENT": True, "LR_SCHEDULE": "cosine", "LABEL_SMOOTHING": 0.1}, {"PRECISION": "float32"}]
)
def test_two_runs_of_one_seed_are_equal_to_the_bit_and_of_two_seeds_not(small_training, monkeypatch, settings):
    for name, value in settings.items():
        monkeypatch.setattr(train, name, value)
    for seed in (3, 3, 4):
        monkeypatch.setattr(train, "SEED", seed)
        train.main()
    one, two, other = (train.CHECKPOINTS_DIR / f"run-{n:03d}" / "epoch_01.npy" for n in (1, 2, 3))
    assert one.read_bytes() == two.read_bytes()
    assert not np.array_equal(np.load(one)["fc3.bias"], np.load(other)["fc3.bias"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EPOCHS", 0),
        ("EPOCHS", 2.5),
        ("EPOCHS", True),
        ("BATCH_SIZE", -64),
        ("BATCH_SIZE", "64"),
        ("LEARNING_RATE", 0),
        ("LEARNING_RATE", float("nan")),
        ("LEARNING_RATE", "0.001"),
        ("DIM_HIDDEN", [32, 128]),
        ("DIM_HIDDEN", [32, 128, 512, 1024, 0]),
        ("DIM_HIDDEN", 32),
        ("LR_SCHEDULE", "linear"),
        ("LR_SCHEDULE", ["cosine"]),
        ("AUGMENT", "yes"),
        ("LABEL_SMOOTHING", 1),
        ("PRECISION", "float16"),
        ("SEED", -1),
        ("SEED", None),
    ],
)
def test_a_hyperparameter_out_of_range_is_named_with_what_is_allowed(small_training, monkeypatch, name, value):
    monkeypatch.setattr(train, name, value)
    with pytest.raises(UserError, match=rf"{name} = .* in train.py must be ") as refused:
        train.main()
    assert "\n" not in str(refused.value)
    assert not train.CHECKPOINTS_DIR.exists()


def test_too_little_disk_space_is_said_before_training(small_training, monkeypatch):
    usage = type(shutil.disk_usage("/"))(10**12, 10**12 - 10**4, 10**4)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="GB are free: make room or lower"):
        train.main()
    assert not list(train.CHECKPOINTS_DIR.glob("run-*"))


def test_a_checkpoints_folder_that_cannot_be_written_is_said(small_training, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(train, "CHECKPOINTS_DIR", tmp_path / "file" / "checkpoints")
    with pytest.raises(UserError, match="can't be written"):
        train.main()


def test_a_constant_learning_rate_stays_and_a_cosine_rises_and_falls_to_zero(monkeypatch):
    def rates(schedule):
        monkeypatch.setattr(train, "LR_SCHEDULE", schedule)
        optimizer = torch.optim.Adam(myCNN(SMALL).parameters(), lr=train.LEARNING_RATE)
        scheduler = train.make_scheduler(optimizer, 1000)
        rates = []
        for _ in range(1000):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return rates

    assert set(rates("constant")) == {0.001}
    cosine = rates("cosine")
    peak = cosine.index(max(cosine))
    assert 10 <= peak <= 100
    assert cosine[peak] == pytest.approx(0.001)
    assert cosine[: peak + 1] == sorted(cosine[: peak + 1])
    assert cosine[peak:] == sorted(cosine[peak:], reverse=True)
    assert cosine[-1] < 1e-6


def test_a_training_of_few_steps_has_a_cosine_schedule_too(monkeypatch):
    monkeypatch.setattr(train, "LR_SCHEDULE", "cosine")
    for steps in range(1, 60):
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.Adam([parameter], lr=train.LEARNING_RATE)
        scheduler = train.make_scheduler(optimizer, steps)
        for _ in range(steps):
            assert 0 <= optimizer.param_groups[0]["lr"] <= train.LEARNING_RATE * 1.001
            optimizer.step()
            scheduler.step()


def test_missing_data_is_downloaded_into_a_new_folder(tmp_path, monkeypatch):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=train.DATA_DIR / "MNIST" / "raw")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as mirror:
        threading.Thread(target=mirror.serve_forever, daemon=True).start()
        monkeypatch.setattr(train, "DATA_DIR", tmp_path / "data")
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{mirror.server_port}/"])
        images, labels = train.load_mnist(train=False, device=torch.device("cpu"))
        mirror.shutdown()
    assert (len(images), len(labels)) == (10_000, 10_000)


def test_augmented_digits_keep_their_form_and_move_a_little(training_digits):
    digits = training_digits[0][:2000].float() / 255
    torch.manual_seed(0)
    moved = train.augment(digits)
    assert moved.shape == digits.shape
    assert (moved.min() >= 0, moved.max() <= 1) == (True, True)
    positions = torch.arange(28.0)

    def centres(images):
        return (images.sum(2) * positions).sum(-1) / images.sum((2, 3))

    shifts = centres(moved) - centres(digits)
    assert 1 < shifts.abs().quantile(0.9) < 2.5  # pixels
    assert shifts.mean().abs() < 0.15
    assert torch.unique(shifts).numel() > 1900  # each digit by its own amounts
    ink = moved.sum((1, 2, 3)) / digits.sum((1, 2, 3))
    assert 0.78 < ink.quantile(0.02) < 0.9 < 1.1 < ink.quantile(0.98) < 1.25  # scaled by up to 10 % a side
