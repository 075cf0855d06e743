"""Made pages match their lists of digits."""

import numpy as np
import pytest

from handwriting.training import pages, sources
from handwriting.training.pages import KINDS, make_page
from handwriting.training.pens import trimmed
from handwriting.training.texts import handwritten, typeset


def page_of(source, kinds, seed=0, **options):
    """A page of digits 30 pixels high."""
    options = {"shape": (200, 300), "height": 30} | options
    return make_page(np.random.default_rng(seed), source, kinds=kinds, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_the_page_and_its_list_stays_right(source, kind):
    changed = 0
    others = {"yellow": 1} if kind == "grey" else {}  # so that there is colour to lose
    height = None if kind in ("huge", "tiny") else 30
    for seed in range(3):
        with_kind, without = (page_of(source, kinds, seed, height=height) for kinds in (others | {kind: 1}, others))
        changed += with_kind.photo.shape != without.photo.shape or (with_kind.photo != without.photo).any()
        for page in (with_kind, without):
            assert (page.photo.dtype, page.photo.shape) == (np.uint8, (*page.owner.shape, 3))
            for number, digit in enumerate(page.digits):
                assert 0 <= digit.label <= 9 and 0 <= digit.seen <= 1 and 0 <= digit.angle < 360
                rows, columns = np.nonzero(page.owner == number)
                left, top, right, bottom = digit.box
                assert all(top - 1 < rows) and all(rows < bottom) and all(left - 1 < columns) and all(columns < right)
                if digit.seen > 0.95 and kind not in ("touching", "tiny"):
                    assert len(rows) > 5
    assert changed >= 2


@pytest.mark.parametrize("kinds", [{}, {"turned": 1}])
def test_a_box_fits_its_ink(source, kinds):
    fitting = []
    for seed in range(6):
        page = page_of(source, kinds | {"drawn": 1, "printed": 1}, seed, pen=("line", 3))
        for number, digit in enumerate(page.digits):
            if digit.seen == 1:
                rows, columns = np.nonzero(page.owner == number)
                own = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                fitting.append(np.abs(np.subtract(digit.box, own)).max() < 2.5)
    assert len(fitting) > 50 and np.mean(fitting) > 0.97


def test_only_fonts_that_are_no_handwriting_are_printed(source):
    for kinds, shares in (({"typed": 1}, {True}), ({"fonts": 1, "prose": 1}, {False}), ({"printed": 1}, {True, False})):
        digits = [digit for seed in range(4) for digit in page_of(source, kinds, seed).digits]
        assert {digit.printed for digit in digits} == shares


def test_every_digit_in_a_text_has_its_label(source):
    text = "No. 30: $7.50, a1b 96%"
    for seed in range(4):
        by_hand = handwritten(np.random.default_rng(seed), source.hand[0], text, 30, 2)
        for pieces in (by_hand, typeset(source.printed[0], text, 9)):
            assert [piece.label for piece in pieces if piece.label is not None] == [3, 0, 7, 5, 0, 1, 9, 6]


def test_a_page_is_turned_clockwise_by_the_angle_of_its_digits(source, monkeypatch):
    monkeypatch.setattr(pages, "_an_angle", lambda _: 90.0)
    upright, turned = (page_of(source, kinds | {"drawn": 1}, shape=(200, 200)) for kinds in ({}, {"turned": 1}))
    assert (np.rot90(turned.owner) == upright.owner).all()
    assert [(digit.label, digit.angle) for digit in turned.digits] == [(digit.label, 90) for digit in upright.digits]


def test_digits_that_cannot_be_told_from_their_paper_are_not_clear(source, monkeypatch):
    for ink, clear in ((0, True), (1, False)):
        monkeypatch.setattr(pages, "ink_colour", lambda *_, ink=ink: np.float32([ink] * 3))
        assert {digit.clear for digit in page_of(source, {"drawn": 1}).digits if digit.seen} == {clear}


def test_what_is_held_out_is_in_no_training(monkeypatch, tmp_path):
    for number, name in enumerate(f"font-{letter}" for letter in "abcdefghijklmnopqrstuv"):
        (tmp_path / "fonts" / name).mkdir(parents=True)
        kind = "handwriting" if number % 2 else "serif"
        (tmp_path / "fonts" / name / "metadata.json").write_text(f'{{"category": "{kind}"}}')
    for person in range(1, 21):
        (tmp_path / "drawn" / "Latin" / "character01").mkdir(parents=True, exist_ok=True)
        (tmp_path / "drawn" / "Latin" / "character01" / f"0001_{person:02d}.png").touch()
    monkeypatch.setattr(sources, "FONTS", tmp_path / "fonts")
    monkeypatch.setattr(sources, "DRAWN", tmp_path / "drawn")
    ours, theirs = sources.training_source(), sources.held_out_source()
    assert (len(ours.labels), len(theirs.labels)) == (55_000, 5_000)
    assert (len(ours.writers), len(theirs.writers)) == (27, 3)
    for name, count in (("printed", 11), ("hand", 11), ("latin", 20)):
        one, other = ({str(item) for item in getattr(source, name)} for source in (ours, theirs))
        assert len(other) == 2 and not one & other and len(one | other) == count


def test_ink_is_cut_to_its_bounds_however_faint_it_is():
    ink = np.zeros((9, 9), np.float32)
    ink[3:5, 2:7] = 1
    assert trimmed(ink).shape == trimmed(0.05 * ink).shape == (2, 5)
