"""The finder and the judge: their weights, what they see, and how they learn."""

import numpy as np
import pytest

from benchmarks.handwriting import pages_of
from handwriting import finder, judge
from handwriting.lines import Found
from handwriting.training import judging, learning
from handwriting.training.pages import make_page
from support.errors import UserError


def test_small_digits_that_look_like_one_when_scaled_down_are_looked_at_in_full_size(digits):
    model = finder.load_finder()
    for row in ("ruled paper", "pencil"):
        for photo, _ in pages_of(row, *digits):
            assert finder.look(model, photo)[-1].scale == 1


def test_weights_of_another_network_are_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(finder, "WEIGHTS", judge.WEIGHTS)
    with pytest.raises(UserError, match="judge.npz holds other weights"):
        finder.load_finder()


def test_its_training_targets_have_a_centre_for_each_digit_and_votes_that_point_there(source):
    page = make_page(np.random.default_rng(5), source, (256, 256), {"drawn": 1}, 30, ("line", 3))
    centres, ink, heights, widths, down, across, counts, sized, labels = learning.targets(page)
    middles = [((top + bottom) / 2, (left + right) / 2) for left, top, right, bottom in (d.box for d in page.digits)]
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
    left, top, right, bottom = page.digits[0].box
    y, x = round((top + bottom) / 4 - 0.5), round((left + right) / 4 - 0.5)
    assert np.exp([heights[y, x], widths[y, x]]) == pytest.approx([bottom - top, right - left], rel=1e-3)


def test_the_judge_learns_which_candidates_are_digits(source):
    page = make_page(np.random.default_rng(5), source, (256, 256), {"drawn": 1}, 30, ("line", 3))
    boxes = np.array([digit.box for digit in page.digits], float)
    elsewhere = boxes + (1000, 0, 1000, 0)
    too_large = boxes + 0.35 * (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) * (-1, -1, 1, 1)
    found = Found.at(np.concatenate([boxes, elsewhere, too_large]), np.full(3 * len(boxes), 0.5))
    labels = [digit.label for digit in page.digits]
    assert judging.truth(page, found).tolist() == labels + [10] * len(boxes) + [-1] * len(boxes)
    for quarters in (1, 2, 3):
        lying = judging.lying(page, quarters)
        for number, digit in enumerate(lying.digits):
            left, top, right, bottom = np.int32(digit.box)
            assert (lying.owner[top:bottom, left:right] == number).sum() == (page.owner == number).sum() > 0
            assert digit.label == 10


@pytest.mark.parametrize(
    ("net", "module", "loss", "settings"),
    [
        (finder, learning, (learning, "loss_function"), {"STEPS": 16, "BATCH_SIZE": 2}),
        (judge, judging, (judging.F, "cross_entropy"), {"STEPS": 60, "BATCH_SIZE": 32, "POOL": 500}),
    ],
)
def test_training_lowers_the_loss(source, monkeypatch, tmp_path, net, module, loss, settings):
    losses, loss_function = [], getattr(*loss)

    def noted(*arguments, **options):
        losses.append(loss_function(*arguments, **options))
        return losses[-1]

    monkeypatch.setattr(*loss, noted)
    for name, value in (settings | {"training_source": lambda: source, "WEIGHTS": tmp_path / "new.npz"}).items():
        monkeypatch.setattr(module, name, value)
    module.learn()
    assert sum(loss.mean() for loss in losses[-8:]) < sum(loss.mean() for loss in losses[:8])
    monkeypatch.setattr(net, "WEIGHTS", tmp_path / "new.npz")
    assert (finder.load_finder if net is finder else judge.load_judge)()
