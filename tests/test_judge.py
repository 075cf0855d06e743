"""The judge's second look: patches in one size, and what it learns from them."""

import numpy as np
import pytest

from handwriting.finder import load_finder, look
from handwriting.judge import SIZE, patches_of
from handwriting.lines import Found
from handwriting.training.judging import truth
from handwriting.training.pages import Page, PageDigit, make_page


@pytest.fixture(scope="module")
def page(training_digits):
    """A clean page of MNIST's training digits."""
    digits = training_digits[0][:, 0].numpy(), training_digits[1].numpy()
    return make_page(np.random.default_rng(6), *digits, (300, 400), {"drawn": 1}, 30, ("line", 3))


def found_at(boxes):
    return Found.at(boxes, np.ones(len(boxes)))


def test_a_digit_is_one_where_it_stands_and_in_its_size_only():
    box = (100, 50, 130, 70)
    page = Page(np.zeros((300, 400, 3), np.uint8), [PageDigit(5, 0, box, 1.0)], np.full((300, 400), -1))
    near, elsewhere, half_off = (98, 49, 129, 70), (150, 50, 180, 70), (112, 50, 142, 70)
    too_large, too_small = (40, 0, 190, 120), (110, 57, 120, 63)
    answers = truth(page, found_at([box, near, elsewhere, too_large, too_small, half_off]))
    assert answers.tolist() == [1, 1, 0, 0, 0, -1]


def test_patches_show_every_digit_in_one_size_at_every_scale(page):
    found = found_at([digit.box for digit in page.digits if digit.seen > 0.99])
    for seen in look(load_finder(), page.photo)[-3:]:
        patches = patches_of(seen, found.row, found.column, found.size).numpy()
        assert patches.shape == (len(found), 5, 48, 96)
        dark = patches[:, :3].mean(1) < -1
        middle = dark[:, 24 - SIZE // 2 - 1 : 24 + SIZE // 2 + 1, 48 - SIZE // 2 - 1 : 48 + SIZE // 2 + 1]
        heights = middle.any(2).sum(1)
        assert abs(np.median(np.maximum(heights, middle.any(1).sum(1))) - SIZE) <= 3
