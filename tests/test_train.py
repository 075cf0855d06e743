import io
import itertools
import json

import numpy as np
import pytest
import torch
from conftest import NARROW
from tqdm import tqdm

import train
from Model import myCNN
from support.errors import UserError
from support.hyperparameters import HYPERPARAMETERS
from support.runs import epoch_files


def test_every_digit_is_seen_once_per_epoch_in_a_new_order(monkeypatch):
    seen = []
    monkeypatch.setattr(train, "train_step", lambda *arguments: seen.append(arguments[3]) or torch.zeros(()))
    numbered = torch.arange(1000)
    for epoch in range(2):
        train.train_epoch(myCNN(NARROW), None, None, numbered, numbered, torch.float32, epoch)
    assert [len(batch) for batch in seen[:16]] == [64] * 15 + [40]
    first, second = torch.cat(seen[:16]), torch.cat(seen[16:])
    assert all(torch.equal(epoch.sort().values, numbered) for epoch in (first, second))
    assert not torch.equal(first, second)


def test_the_loss_falls_and_a_run_has_its_settings_log_and_epochs(small_training, monkeypatch, capsys):
    monkeypatch.setattr(train, "EPOCHS", 5)
    monkeypatch.setattr(train, "LEARNING_RATE", 0.003)
    train.main()
    folder = train.CHECKPOINTS_DIR / "run-001"
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["hyperparameters"] == {name: getattr(train, name) for name in HYPERPARAMETERS}
    epochs, losses, _ = np.loadtxt(folder / "training_log.csv", delimiter=",", skiprows=1, unpack=True)
    assert list(epochs) == list(epoch_files(folder)) == [0, 1, 2, 3, 4]
    assert losses[4] < 0.9 * losses[0]
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(f"starting {folder}: epochs 0 to 4 on ")
    assert [line.split(":")[0] for line in lines] == [f"epoch  {epoch}" for epoch in range(5)]


def test_without_a_bar_a_line_says_once_within_a_minute_how_long_all_epochs_take(small_training, monkeypatch, capsys):
    clock = itertools.count(step=11)  # seconds: the machine is slow
    monkeypatch.setattr(train.time, "perf_counter", lambda: next(clock))
    train.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "about 02:23 left for all 2 epochs"  # three of sixteen steps took 33 seconds
    assert [line.split(":")[0] for line in lines[2:]] == ["epoch  0", "epoch  1"]


def test_the_bar_shows_the_epoch_and_when_the_whole_run_will_end(small_training, monkeypatch, capsys):
    class Bar(tqdm):
        def __init__(self, **options):
            super().__init__(**options | {"disable": False, "file": drawn, "mininterval": 0, "ncols": 120})

    drawn = io.StringIO()
    monkeypatch.setattr(train, "tqdm", Bar)
    train.main()
    last_of_first_epoch = [bar for bar in drawn.getvalue().split("\r") if bar.startswith("epoch 0: ")][-1]
    assert " 512/1024 [" in last_of_first_epoch
    assert "loss=" in last_of_first_epoch
    assert "epoch 1: 100%" in drawn.getvalue()
    assert "about" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EPOCHS", 0),
        ("BATCH_SIZE", True),
        ("LEARNING_RATE", 0),
        ("DIM_HIDDEN", [32, 128, 512, 1024]),
        ("LR_SCHEDULE", "linear"),
        ("AUGMENT", 1),
        ("LABEL_SMOOTHING", 1),
        ("PRECISION", "float16"),
        ("SEED", None),
    ],
)
def test_a_hyperparameter_out_of_range_is_named_with_what_is_allowed(small_training, monkeypatch, name, value):
    monkeypatch.setattr(train, name, value)
    with pytest.raises(UserError, match=rf"{name} = .* in train.py must be {HYPERPARAMETERS[name][1][:5]}"):
        train.main()
    assert not train.CHECKPOINTS_DIR.exists()


def test_a_constant_learning_rate_stays_and_a_cosine_one_rises_and_falls_to_zero(monkeypatch):
    def rates(schedule):
        monkeypatch.setattr(train, "LR_SCHEDULE", schedule)
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=train.LEARNING_RATE)
        scheduler = train.make_scheduler(optimizer, 1000)
        for _ in range(1000):
            yield optimizer.param_groups[0]["lr"]
            optimizer.step()
            scheduler.step()

    assert set(rates("constant")) == {0.001}
    cosine = list(rates("cosine"))
    peak = cosine.index(max(cosine))
    assert cosine == sorted(cosine[: peak + 1]) + sorted(cosine[peak + 1 :], reverse=True)
    assert peak < 100
    assert 0.000999 < max(cosine) <= 0.001
    assert cosine[-1] < 1e-6


def test_augmented_digits_keep_their_shape_and_move_a_little(training_digits):
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
