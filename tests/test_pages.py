"""Pages made from MNIST's digits match their lists of digits."""

import numpy as np
import pytest

from benchmarks.handwriting import letters
from handwriting.training import pages
from handwriting.training.pages import KINDS, make_page
from handwriting.training.pens import written


@pytest.fixture(scope="module")
def digits(training_digits):
    """MNIST's training digits as NumPy arrays: uint8 [60000, 28, 28], int64 [60000]."""
    return training_digits[0][:, 0].numpy(), training_digits[1].numpy()


def test_the_same_seed_makes_the_same_page_and_another_seed_another_page(digits):
    one, two, other = (make_page(np.random.default_rng(seed), *digits) for seed in (3, 3, 4))
    assert np.array_equal(one.photo, two.photo)
    assert one.digits == two.digits
    assert one.photo.shape != other.photo.shape or not np.array_equal(one.photo, other.photo)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_the_page_and_its_list_stays_right(digits, kind):
    changed = 0
    others = {"yellow": 1} if kind == "grey" else {}  # so that there is colour to lose
    height = None if kind in ("huge", "tiny") else 30
    for seed in range(3):
        with_kind, without = (
            make_page(np.random.default_rng(seed), *digits, (200, 300), kinds, height, letters=letters())
            for kinds in (others | {kind: 1}, others)
        )
        changed += with_kind.photo.shape != without.photo.shape or (with_kind.photo != without.photo).any()
        for page in (with_kind, without):
            assert page.photo.dtype == np.uint8
            assert page.photo.shape == (*page.owner.shape, 3)
            for number, digit in enumerate(page.digits):
                assert 0 <= digit.label <= 9
                assert 0 <= digit.seen <= 1.001
                rows, columns = np.nonzero(page.owner == number)
                top, left, bottom, right = digit.box
                assert all(top <= rows) and all(rows < bottom) and all(left <= columns) and all(columns < right)
                if digit.seen > 0.95 and kind not in ("touching", "tiny"):
                    assert len(rows) > 5
    assert changed >= 2


def test_on_a_clean_page_ink_is_dark_where_its_owner_is_and_paper_light_elsewhere(digits):
    page = make_page(np.random.default_rng(1), *digits, (200, 300), {"drawn": 1}, height=40, pen=("line", 3))
    grey = page.photo.mean(2)
    assert len(page.digits) > 3
    assert grey[page.owner >= 0].mean() < 200
    assert np.median(grey[page.owner < 0]) > 250


def test_digits_that_cannot_be_told_from_their_paper_are_not_clear(digits, monkeypatch):
    for ink, clear in ((0, True), (1, False)):
        monkeypatch.setattr(pages, "ink_colour", lambda *_, ink=ink: np.float32([ink] * 3))
        page = make_page(np.random.default_rng(1), *digits, (200, 300), {"drawn": 1}, 30)
        assert {digit.clear for digit in page.digits} == {clear}


@pytest.mark.parametrize("height", [12, 40, 120])
@pytest.mark.parametrize("pen", [("line", 0.5), ("line", 3), ("stroke", 0)])
def test_a_written_digit_has_its_height_and_its_pens_width(digits, height, pen):
    rng = np.random.default_rng(0)
    glyphs = [written(rng, digits[0][number], height, pen) for number in range(60)]
    heights = [len(glyph) for glyph in glyphs]
    assert 0.8 * height - 2 < np.median(heights) < 1.2 * height + pen[1] + 2
    assert all(glyph.min() >= 0 and glyph.max() <= 1 for glyph in glyphs)
    if pen == ("line", 0.5):
        assert 0.3 < np.median([glyph.max() for glyph in glyphs]) <= 0.5  # a line of half a pixel is half as dark
