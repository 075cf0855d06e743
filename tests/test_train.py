import json
import math

import numpy as np
import pytest
import torch
from conftest import NARROW

import train
from Model import myCNN
from support.errors import UserError
from support.hyperparameters import HYPERPARAMETERS, OTHERS
from support.runs import epoch_files


def test_every_digit_is_seen_once_per_epoch_in_a_new_order():
    seen, numbered = [], torch.arange(1000)
    for epoch in range(2):
        train.train_epoch(lambda images, labels: seen.append(images) or torch.zeros(()), numbered, numbered, epoch)
    assert [len(batch) for batch in seen[:16]] == [64] * 15 + [40]
    first, second = torch.cat(seen[:16]), torch.cat(seen[16:])
    assert all(torch.equal(epoch.sort().values, numbered) for epoch in (first, second))
    assert not torch.equal(first, second)


def test_the_loss_of_an_epoch_is_the_mean_over_its_digits_though_the_last_batch_is_smaller():
    numbered = torch.arange(100)
    loss = train.train_epoch(lambda images, labels: torch.tensor(float(len(images))), numbered, numbered, 0)
    assert loss == (64 * 64 + 36 * 36) / 100


def test_label_smoothing_spreads_its_share_over_all_ten_classes(monkeypatch):
    logits = torch.eye(10)[:3]  # 1 for the label, 0 for the nine others
    for smoothing, share in ((0.0, 1), (0.1, 0.91)):  # of the label
        monkeypatch.setattr(train, "LABEL_SMOOTHING", smoothing)
        loss = train.loss_function(logits, torch.arange(3))
        assert loss.item() == pytest.approx(math.log(math.e + 9) - share)


@pytest.mark.parametrize("is_augmented", [True, False])
def test_the_network_learns_from_digits_from_0_to_1_augmented_if_set(training_digits, monkeypatch, is_augmented):
    images, labels = (part[:64] for part in training_digits)
    model, given = myCNN(NARROW), []
    model.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    monkeypatch.setattr(train, "AUGMENT", is_augmented)
    monkeypatch.setattr(train, "augment", torch.flipud)
    optimizer = torch.optim.Adam(model.parameters())
    train.train_step(model, optimizer, train.make_scheduler(optimizer, 10), images, labels, torch.float32)
    expected = images / np.float32(255)
    assert torch.equal(given[0], expected.flipud() if is_augmented else expected)


def test_the_loss_falls_and_a_run_has_its_settings_log_and_epochs(small_training, monkeypatch):
    monkeypatch.setattr(train, "EPOCHS", 5)
    monkeypatch.setattr(train, "LEARNING_RATE", 0.003)
    train.main()
    folder = train.CHECKPOINTS_DIR / "run-001"
    settings = json.loads((folder / "settings.json").read_text())
    assert all(settings[name] == getattr(train, name) for name in HYPERPARAMETERS)
    epochs, losses, _ = np.loadtxt(folder / "training_log.csv", delimiter=",", skiprows=1, unpack=True)
    assert list(epochs) == list(epoch_files(folder)) == [0, 1, 2, 3, 4]
    assert losses[4] < 0.9 * losses[0]


WRONG = {
    "EPOCHS": [0],
    "BATCH_SIZE": [True, 60_000],
    "LEARNING_RATE": [1e-12],
    "DIM_HIDDEN": [[32, 128, 512, 1024]],
    "LR_SCHEDULE": ["linear"],
    "AUGMENT": [1],
    "LABEL_SMOOTHING": [1],
    "PRECISION": ["float16", np.array(["auto", "float32"])],
    "SEED": [None],
    "ADDED_BY_THE_USER": [torch.optim.SGD, {1, 2}, float("nan")],  # settings.json can't hold them
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_hyperparameter_out_of_range_is_named_with_what_is_allowed(small_training, monkeypatch, name, value):
    monkeypatch.setattr(train, name, value, raising=False)
    _, allowed = HYPERPARAMETERS.get(name, OTHERS)
    with pytest.raises(UserError, match=rf"{name} = .* in train.py must be {allowed[:9]}"):
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


def test_augmentation_rotates_scales_shears_and_shifts_each_digit_by_its_own_amounts_within_the_limits():
    pixels = torch.arange(28.0) - 13.5  # from the middle

    def place_after(x, y):
        """Where a round dot at (x, y) is after augmentation: float [3000, 2], in pixels from the middle."""
        dot = torch.exp(-((pixels - x) ** 2 + (pixels[:, None] - y) ** 2) / 8)
        torch.manual_seed(0)
        moved = train.augment(dot.repeat(3000, 1, 1, 1))[:, 0]
        moved /= moved.sum((1, 2), keepdim=True)
        return torch.stack([(moved.sum(1) * pixels).sum(1), (moved.sum(2) * pixels).sum(1)], 1)

    middle, right, below = place_after(0, 0), place_after(6, 0), place_after(0, 6)
    # A place p of an augmented digit shows the place A p + t of the digit itself.
    inverse = torch.stack([right - middle, below - middle], 2) / 6
    a = inverse.inverse()
    angle = torch.atan2(a[:, 1, 0], a[:, 0, 0]).rad2deg()
    scale = a.det().sqrt()
    shear = (a[:, 0, 0] * a[:, 0, 1] + a[:, 1, 0] * a[:, 1, 1]) / scale**2
    across, down = -(a @ middle[:, :, None])[..., 0].T
    shares = torch.stack([angle / 15, (scale - 1) / 0.1, shear / 0.2, across / 2, down / 2])  # of the limits
    assert shares.amax(1).tolist() == pytest.approx([1] * 5, rel=0.05)
    assert shares.amin(1).tolist() == pytest.approx([-1] * 5, rel=0.05)
    assert shares.mean(1).abs().max() < 0.1
