"""The detector: its weights, what it is taught, and that its training can be repeated and resumed."""

import numpy as np
import pytest
import torch

from handwriting import SMALL, detector
from handwriting.detector import NONE
from handwriting.training import learning
from handwriting.training.pages import make_page
from support.errors import UserError


@pytest.fixture
def page(source):
    """A clean page of 256 × 256 pixels."""
    return make_page(np.random.default_rng(4), source, (256, 256), {"drawn": 1}, 30, ("line", 3))


def test_weights_of_another_network_are_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(detector, "WEIGHTS", SMALL / "epoch_19.npz")
    with pytest.raises(UserError, match="epoch_19.npz holds other weights"):
        detector.load_detector()


def test_it_is_taught_the_centre_and_the_size_of_each_digit(page):
    centres, *sizes, counts, sized, ink = learning.targets(page)
    assert (centres == 1).sum() == len(page.digits) > 5
    assert (counts == 1).all()
    assert 0 < ink.mean() < 0.2
    for digit in page.digits:
        left, top, right, bottom = digit.box
        x, y = round((left + right) / 4 - 0.5), round((top + bottom) / 4 - 0.5)
        assert centres[y, x] == sized[y, x] == 1
        assert np.exp([size[y, x] for size in sizes]) == pytest.approx([right - left, bottom - top], rel=1e-3)


def test_a_candidate_is_what_stands_where_it_is_if_the_size_fits(page):
    page.digits[0].printed, page.digits[1].angle = True, 90.0  # what lies is not told from other digits
    digits = torch.from_numpy(learning.digits_of(page))[None]
    own = digits[:, : len(page.digits)]
    places = torch.cat([own[..., :2], own[..., 2:4].amax(-1, keepdim=True)], -1)
    classes = [digit.label for digit in page.digits]
    classes[:2] = classes[0] + 10, -1
    said, numbers, turns = learning.truth(places, digits)
    assert (said.tolist(), numbers.tolist()) == ([classes], [list(range(len(classes)))])
    assert turns[0, :3] == pytest.approx(np.array([[1, 0], [0, 1], [1, 0]]), abs=1e-6)
    assert (learning.truth(places * torch.tensor([1, 1, 1.7]), digits)[0] == -1).all()
    assert (learning.truth(places + torch.tensor([1000, 0, 0]), digits)[0] == NONE).all()


def test_training_gives_the_same_weights_again_and_when_it_was_stopped_meanwhile(source, tmp_path, monkeypatch):
    for name, value in {"BATCH_SIZE": 2, "SAVED": 10, "TRIED_PAGES": 2, "WARM_UP": 5}.items():
        monkeypatch.setattr(learning, name, value)

    def learnt(name):
        return learning.learn(source, source, tmp_path / name, steps=20, workers=0).state_dict()

    def stop(state_file, log):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learning, "_write_log", stop)
        with pytest.raises(KeyboardInterrupt):
            learnt("stopped.pt")
    resumed, again = learnt("stopped.pt"), learnt("again.pt")
    assert all(torch.equal(resumed[name], again[name]) for name in again)
    losses = [float(row.split(",")[1]) for row in (tmp_path / "again.csv").read_text().splitlines()[1:]]
    assert losses[1] < losses[0]
