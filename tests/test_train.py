import csv
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import SMALL

import train
from Model import myCNN
from support import hyperparameters
from support.errors import UserError


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
        assert files == {"settings.json", "training_log.csv", "epoch_00.npz", "epoch_01.npz"}
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
    one, two, other = (train.CHECKPOINTS_DIR / f"run-{n:03d}" / "epoch_01.npz" for n in (1, 2, 3))
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
        ("EPOCHS", 10**5000),
        ("LEARNING_RATE", 10**400),
        ("LEARNING_RATE", float("inf")),
        ("LEARNING_RATE", True),
        ("LABEL_SMOOTHING", 10**5000),
        ("DIM_HIDDEN", [10**5000] * 5),
        ("DIM_HIDDEN", list(range(10**6))),
        ("DIM_HIDDEN", np.array([32, 128, 512, 1024, 256])),
        ("LR_SCHEDULE", np.array(["cosine", "constant"])),
        ("AUGMENT", np.array([True, False])),
        ("AUGMENT", 1),
        ("PRECISION", torch.bfloat16),
        ("SEED", 10**5000),
        ("SEED", 0.0),
    ],
    ids=lambda value: value if type(value) is str else type(value).__name__,  # pytest can't write 10**5000
)
def test_a_hyperparameter_out_of_range_is_named_with_what_is_allowed(small_training, monkeypatch, name, value):
    monkeypatch.setattr(train, name, value)
    with pytest.raises(UserError, match=rf"{name} = .* in train.py must be ") as refused:
        train.main()
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200
    assert not train.CHECKPOINTS_DIR.exists()


@pytest.mark.parametrize("name", hyperparameters.HYPERPARAMETERS)
def test_a_hyperparameter_commented_out_is_named_with_what_is_allowed(small_training, monkeypatch, name):
    monkeypatch.delattr(train, name)
    with pytest.raises(UserError, match=f"{name} is missing in train.py: it must be "):
        train.main()
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
