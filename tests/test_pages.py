"""Pages made from MNIST's digits match their lists of digits."""

import numpy as np
import pytest

from benchmarks.handwriting import letters
from handwriting.training import pages
from handwriting.training.pages import KINDS, make_page
from handwriting.training.pens import trimmed


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
            assert (page.photo.dtype, page.photo.shape) == (np.uint8, (*page.owner.shape, 3))
            for number, digit in enumerate(page.digits):
                assert 0 <= digit.label <= 9
                assert 0 <= digit.seen <= 1.001
                rows, columns = np.nonzero(page.owner == number)
                top, left, bottom, right = digit.box
                assert all(top <= rows) and all(rows < bottom) and all(left <= columns) and all(columns < right)
                if digit.seen > 0.95 and kind not in ("touching", "tiny"):
                    assert len(rows) > 5
    assert changed >= 2


def test_digits_that_cannot_be_told_from_their_paper_are_not_clear(digits, monkeypatch):
    for ink, clear in ((0, True), (1, False)):
        monkeypatch.setattr(pages, "ink_colour", lambda *_, ink=ink: np.float32([ink] * 3))
        page = make_page(np.random.default_rng(1), *digits, (200, 300), {"drawn": 1}, 30)
        assert {digit.clear for digit in page.digits} == {clear}


def test_ink_is_cut_to_its_bounds_however_faint_it_is():
    for darkness in (1, 0.05):
        ink = np.zeros((9, 9), np.float32)
        ink[3:5, 2:7] = darkness
        assert trimmed(ink).shape == (2, 5)
