"""The finder and the judge: their weights, what they see, and how they learn."""

import numpy as np
import pytest

from benchmarks.handwriting import letters, pages_of
from handwriting import finder, judge
from handwriting.lines import Found
from handwriting.training import judging, learning
from handwriting.training.pages import make_page


@pytest.mark.parametrize("file, model", [(finder.WEIGHTS, finder.Finder), (judge.WEIGHTS, judge.Judge)])
def test_its_weights_are_small_and_loaded_without_pickle(file, model):
    assert file.stat().st_size <= 4_000_000
    with np.load(file, allow_pickle=False) as arrays:
        assert {name for name, _ in model().named_parameters()} <= set(arrays)


@pytest.mark.parametrize("shape", [(8, 8), (28, 100), (300, 200), (700, 1100)])
def test_its_maps_line_up_with_the_picture_at_every_scale(test_digits, shape):
    digits = test_digits[0][:, 0].numpy(), test_digits[1].numpy()
    page = make_page(np.random.default_rng(2), *digits, shape, {"drawn": 1}, min(shape[0] / 2, 40), ("stroke", 1))
    for look in finder.look(finder.load_finder(), page.photo):
        scale, maps = look.scale, look.maps
        assert maps.shape[0] == 6
        assert maps[:2].min() >= 0 and maps[:2].max() <= 1
        for length, side in zip(maps.shape[1:], shape, strict=True):
            assert 2 * length >= max(8, round(side * scale)) + 2 * finder.PAD


def test_large_digits_are_not_looked_at_in_larger_scales_than_needed(test_digits):
    digits = test_digits[0][:, 0].numpy(), test_digits[1].numpy()
    model = finder.load_finder()
    for height, least, most in ((200, 0.15, 0.36), (16, 1, 1)):
        page = make_page(np.random.default_rng(2), *digits, (900, 1200), {"drawn": 1}, height, ("stroke", 1))
        assert least <= finder.look(model, page.photo)[-1].scale <= most


def test_small_digits_that_look_like_one_when_scaled_down_are_looked_at_in_full_size(test_digits):
    digits = test_digits[0][:, 0].numpy(), test_digits[1].numpy()
    model = finder.load_finder()
    for row in ("ruled paper", "pencil"):
        for photo, _ in pages_of(row, *digits):
            assert finder.look(model, photo)[-1].scale == 1


def test_its_training_targets_have_a_centre_for_each_digit_and_votes_that_point_there(training_digits):
    digits = training_digits[0][:, 0].numpy(), training_digits[1].numpy()
    page = make_page(np.random.default_rng(6), *digits, (256, 256), {"drawn": 1}, 30, ("line", 3))
    centres, ink, heights, widths, down, across, counts, sized, labels = learning.targets(page)
    middles = [((top + bottom) / 2, (left + right) / 2) for top, left, bottom, right in (d.box for d in page.digits)]
    rows, columns = np.nonzero(centres == 1)
    assert len(rows) == len(middles) > 5
    for y, x in middles:
        assert np.hypot(2 * rows + 1 - y, 2 * columns + 1 - x).min() <= 1.5
    assert (counts == 1).all()
    assert sized.sum() >= len(middles)
    assert {int(label) for label in np.unique(labels)} == {-1} | {digit.label for digit in page.digits}
    rows, columns = np.nonzero(ink == 1)
    voted = np.stack([2 * rows + 1 + 16 * down[ink == 1], 2 * columns + 1 + 16 * across[ink == 1]], axis=1)
    distances = np.linalg.norm(voted[:, None] - np.array(middles), axis=2).min(1)
    assert distances.max() < 0.01
    top, left, bottom, right = page.digits[0].box
    y, x = round((top + bottom) / 4 - 0.5), round((left + right) / 4 - 0.5)
    assert np.exp([heights[y, x], widths[y, x]]) == pytest.approx([bottom - top, right - left], rel=1e-3)


def test_training_lowers_the_loss_and_when_resumed_ends_with_the_same_weights(monkeypatch, tmp_path):
    for name, value in {"STEPS": 16, "STEPS_A_SAVE": 4, "BATCH_SIZE": 2}.items():
        monkeypatch.setattr(learning, name, value)
    monkeypatch.setattr(learning, "training_letters", letters)
    losses, loss_function = [], learning.loss_function

    def noted(*arguments):
        losses.append(loss_function(*arguments))
        return losses[-1]

    def stopped(*arguments):
        if len(losses) == 6:
            raise KeyboardInterrupt
        return noted(*arguments)

    def learn(name, loss):
        monkeypatch.setattr(learning, "loss_function", loss)
        monkeypatch.setattr(finder, "WEIGHTS", tmp_path / f"{name}.npz")
        monkeypatch.setattr(learning, "WEIGHTS", tmp_path / f"{name}.npz")
        learning.learn()

    learn("whole", noted)
    assert sum(losses[-5:]) < sum(losses[:5])
    losses.clear()
    with pytest.raises(KeyboardInterrupt):
        learn("parts", stopped)
    learn("parts", noted)
    assert len(losses) == 6 + 12  # it resumed from step 4
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "parts.npz").read_bytes()
    assert not list(tmp_path.glob("*.pt"))


def test_the_judge_learns_which_candidates_are_digits(test_digits):
    digits = test_digits[0][:, 0].numpy(), test_digits[1].numpy()
    page = make_page(np.random.default_rng(6), *digits, (256, 256), {"drawn": 1}, 30, ("line", 3))
    boxes = np.array([digit.box for digit in page.digits], float)
    elsewhere = boxes + (0, 1000, 0, 1000)
    too_large = boxes + 0.35 * (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) * (-1, -1, 1, 1)
    found = Found.at(np.concatenate([boxes, elsewhere, too_large]), np.full(3 * len(boxes), 0.5))
    labels = [digit.label for digit in page.digits]
    assert judging.truth(page, found).tolist() == labels + [10] * len(boxes) + [-1] * len(boxes)


def test_the_judges_training_lowers_its_loss(monkeypatch, tmp_path):
    losses, cross_entropy = [], judging.F.cross_entropy

    def noted(*arguments, **options):
        losses.append(cross_entropy(*arguments, **options).mean())
        return cross_entropy(*arguments, **options)

    for name, value in {"STEPS": 30, "BATCH_SIZE": 16, "POOL": 500}.items():
        monkeypatch.setattr(judging, name, value)
    monkeypatch.setattr(judging, "training_letters", letters)
    monkeypatch.setattr(judging.F, "cross_entropy", noted)
    for module in (judge, judging):
        monkeypatch.setattr(module, "WEIGHTS", tmp_path / "judge.npz")
    judging.learn()
    assert sum(losses[-10:]) < sum(losses[:10])
    assert judge.load_judge()
