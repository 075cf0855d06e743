"""Photos of pages, made of MNIST's digits: what the finder learns from, and what tests and benchmarks read."""

from dataclasses import dataclass

import numpy as np

from handwriting.training import scenes
from handwriting.training.pens import any_pen, dirt, ink_colour, overlap, written

# The kinds of difficulty, and how often a page that the finder learns from has each.
KINDS = {
    "cut off": 0.6,  # rows run over the edge of the picture
    "scattered": 0.25,  # digits of several sizes, here and there, instead of rows
    "touching": 0.35,
    "huge": 0.12,  # digits so large that only parts of their strokes are near each other
    "breaks": 0.25,  # strokes with gaps
    "open": 0.2,  # a 0 that does not close
    "faint": 0.2,  # pencil, a dry pen
    "coloured": 0.55,
    "ruled": 0.2,
    "squared": 0.18,
    "dotted": 0.05,
    "boxes": 0.18,  # drawn around the digits
    "specks": 0.4,  # full stops, hyphens, ticks, dirt
    "scribbles": 0.35,
    "letters": 0.3,
    "yellow": 0.1,
    "rough": 0.2,  # paper whose grain shows
    "gradient": 0.6,
    "vignette": 0.3,
    "shadow": 0.35,
    "glare": 0.12,
    "table": 0.3,
    "chalk": 0.22,  # light on dark
    "grey": 0.12,
    "drawn": 0.1,  # on a screen: no paper, no light, no camera
    "coarse": 0.16,  # enlarged from few pixels
    "blur": 0.1,
    "noise": 0.7,
    "jpeg": 0.5,
    "binarised": 0.14,
    "small": 0.25,  # a picture of one digit or a few, which fill it
}
HEIGHTS, HUGE = (10, 48), (70, 240)  # of digits, in pixels
LEADING, GAP = (1.08, 2.6), (-0.02, 0.9)  # from row to row, from digit to digit, in heights
TOUCHING = (-0.16, 0.03)  # the gap between digits that touch
CONTRAST, FAINT = (0.4, 1.0), (0.18, 0.4)
REPEATED = (0, 0, 0, 1, 1, 8, 9)  # digits that people write several times in a row


@dataclass
class PageDigit:
    """A digit on a page."""

    label: int
    row: int  # rows are counted from the top
    box: tuple  # top, left, bottom, right, in pixels, of all its ink, also where the picture ends before
    seen: float  # the share of its ink that is in the picture


@dataclass
class Page:
    """A page: a photo, uint8 [height, width, 3]; its digits; and whose ink is where, int [height, width], or -1."""

    photo: np.ndarray
    digits: list
    owner: np.ndarray


def make_page(rng, images, labels, shape=(256, 256), kinds=KINDS, height=None, pen=None):
    """A Page of random digits among `images`, uint8 [N, 28, 28], with their `labels`, int [N].

    kinds: the chance of each kind; a kind that is not named does not come up. height: of the digits, in pixels. pen: as
    pens.any_pen gives it. Without height and pen, those of each page are chosen at random.
    """
    has = {kind: rng.random() < kinds.get(kind, 0) for kind in KINDS}
    height = height or np.exp(rng.uniform(*np.log(HUGE if has["huge"] else HEIGHTS)))
    pen = pen or any_pen(rng, height, has["faint"])
    glyphs = list((_scattered if has["scattered"] else _rows)(rng, images, labels, shape, has, height, pen))
    ink, owner = np.zeros(shape, np.float32), np.full(shape, -1)
    for number, (_, _, top, left, glyph) in enumerate(glyphs):
        page, part = overlap(shape, top, left, glyph.shape)
        own = glyph[part] > np.maximum(ink[page], 0.3 * glyph.max())
        owner[page][own] = number
        ink[page] = np.maximum(ink[page], glyph[part])
    covered = np.zeros(shape, np.float32)
    if has["drawn"]:
        scene = np.ones((*shape, 3), np.float32)
    else:
        scene = scenes.paper(rng, shape, has["yellow"], has["rough"])
        for kind in ("ruled", "squared", "dotted"):
            if has[kind]:
                scenes.rule(rng, scene, height, kind)
    all_ink = np.maximum(ink, dirt(rng, has, height, ink, [glyph[2:] for glyph in glyphs]))
    darkness = rng.uniform(*(FAINT if has["faint"] else CONTRAST))
    if not has["drawn"] and rng.random() < 0.5:  # a pen that writes unevenly
        darkness = darkness * np.clip(1 + scenes.field(rng, shape, int(rng.integers(8, 60)), 0.25), 0.4, 1)
    scene = scene * (1 - (all_ink * darkness)[..., None] * (1 - ink_colour(rng, has["coloured"])))
    if not has["drawn"]:
        if has["table"]:
            picture, covered = scenes.table(rng, shape)
            scene = scene + (picture - scene) * covered[..., None]
        scene = scene * scenes.light(rng, shape, has)[..., None]
    if has["chalk"]:
        scene = 1 - np.clip(scene, 0, 1)
    if has["grey"]:
        scene = np.repeat(scene.mean(2, keepdims=True), 3, 2)
    if has["coarse"]:
        scene = scenes.coarse(rng, scene)
    harms = (has[kind] and not has["drawn"] for kind in ("blur", "noise", "jpeg", "binarised"))
    photo = scenes.photographed(rng, np.float32(scene), height, *harms)
    digits = []
    for label, row, top, left, glyph in glyphs:
        page, part = overlap(shape, top, left, glyph.shape)
        seen = float((glyph[part] * (1 - covered[page])).sum() / glyph.sum())
        digits.append(PageDigit(label, row, (top, left, top + glyph.shape[0], left + glyph.shape[1]), seen))
    page = Page(photo, digits, np.where(covered < 0.5, owner, -1))
    return _cut_out(rng, page) if has["small"] else page


def _glyph(rng, images, labels, height, pen, has, among=None):
    """A digit's label and its ink, of the labels in `among` where it is given."""
    if among is None and rng.random() < 0.07:
        among = 1  # the easiest to overlook
    number = rng.integers(len(images)) if among is None else rng.choice(np.flatnonzero(labels == among))
    gaps = 0.4 * has["breaks"], 0.7 * has["open"]
    return int(labels[number]), written(rng, images[number], max(7, height), pen, *gaps)


def _rows(rng, images, labels, shape, has, height, pen):
    """Digits in rows that climb or fall a little: (label, row, top, left, ink) of each."""
    slope = rng.normal(0, 0.05)
    gap = rng.uniform(*(TOUCHING if has["touching"] else GAP))
    leading = rng.uniform(*LEADING) * height
    row, edge = 0, 0 if has["cut off"] else height * 0.7
    y = rng.uniform(-0.6, 1) * leading if has["cut off"] else edge + 0.6 * height + max(0, -slope) * shape[1]
    while y < shape[0] - (-0.5 * height if has["cut off"] else edge + 0.6 * height + max(0, slope) * shape[1]):
        x = rng.uniform(-height, 0.5 * shape[1]) if has["cut off"] else edge
        among, its_gap = None, gap
        for _ in range(rng.integers(1, 16)):
            if rng.random() < 0.12:
                among = rng.choice(REPEATED) if among is None else None
                its_gap = rng.uniform(*TOUCHING) if among is not None and rng.random() < 0.5 else gap
            label, glyph = _glyph(rng, images, labels, height * np.exp(rng.normal(0, 0.1)), pen, has, among)
            top = round(y + slope * x + rng.normal(0, 0.05) * height - glyph.shape[0] / 2)
            if x + glyph.shape[1] > shape[1] - edge and not (has["cut off"] and x < shape[1]):
                break
            yield label, row, top, round(x), glyph
            x += glyph.shape[1] + height * max(-0.2, rng.normal(its_gap, 0.05 if its_gap < TOUCHING[1] else 0.12)) + 1
            if rng.random() < 0.12:
                x += rng.uniform(0.5, 2) * height
        y += leading
        row += 1


def _scattered(rng, images, labels, shape, has, height, pen):
    """A few digits apart from each other, or none: (label, row, top, left, ink) of each."""
    taken = np.zeros(shape, bool)
    for number in range(rng.integers(0, 7)):
        label, glyph = _glyph(rng, images, labels, min(height * np.exp(rng.normal(0, 0.35)), shape[0] / 2), pen, has)
        beyond = 4 if has["cut off"] else 0
        top, left = (
            int(rng.integers(-beyond, max(1, a - b) + beyond)) for a, b in zip(shape, glyph.shape, strict=True)
        )
        page, _ = overlap(shape, top - 3, left - 3, (glyph.shape[0] + 6, glyph.shape[1] + 6))
        if not taken[page].any():
            taken[page] = True
            yield label, number, top, left, glyph


def _cut_out(rng, page):
    """The page around one of its digits and perhaps some of its neighbours, close to their ink."""
    seen = [digit for digit in page.digits if digit.seen > 0.5]
    if not seen:
        return page
    top, left, bottom, right = seen[rng.integers(len(seen))].box
    height, width = page.photo.shape[:2]
    side = max(bottom - top, right - left)
    wider = 0 if rng.random() < 0.5 else rng.uniform(0.5, 4) * side
    margins = rng.uniform(0, 0.35, 4) * side if rng.random() < 0.8 else rng.uniform(0.3, 0.8, 4) * side
    top, bottom = int(max(0, top - margins[0])), int(min(height, bottom + margins[1] + 1))
    left, right = int(max(0, left - margins[2])), int(min(width, right + margins[3] + wider + 1))
    bottom, right = min(height, max(bottom, top + 8)), min(width, max(right, left + 8))
    digits = []
    for number, digit in enumerate(page.digits):
        a, b, c, d = digit.box
        inside = (page.owner[top:bottom, left:right] == number).sum() / max(1, (page.owner == number).sum())
        digits.append(PageDigit(digit.label, digit.row, (a - top, b - left, c - top, d - left), digit.seen * inside))
    return Page(page.photo[top:bottom, left:right], digits, page.owner[top:bottom, left:right])
