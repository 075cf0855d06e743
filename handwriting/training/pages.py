"""Photos of pages, made of MNIST's digits: what the finder learns from, and what tests and benchmarks read."""

from dataclasses import dataclass, replace

import numpy as np

from handwriting.training import layouts, scenes
from handwriting.training.pens import any_pen, dirt, ink_colour, overlap

# The kinds of difficulty, and how often a page that the finder learns from has each.
KINDS = {
    "cut off": 0.6,  # rows run over the edge of the picture
    "scattered": 0.25,  # digits of several sizes, here and there, instead of rows
    "touching": 0.35,
    "huge": 0.08,  # digits so large that only parts of their strokes are near each other
    "tiny": 0.1,  # digits too small to be found: from afar, a table's cell or a word looks like a large digit
    "breaks": 0.25,  # strokes with gaps
    "open": 0.2,  # a 0 that does not close
    "faint": 0.2,  # pencil, a dry pen
    "coloured": 0.55,
    "ruled": 0.2,
    "squared": 0.18,
    "dotted": 0.05,
    "boxes": 0.18,  # drawn around the digits
    "specks": 0.35,  # full stops, hyphens, ticks, dirt
    "scribbles": 0.25,
    "letters": 0.3,  # words here and there, by hand
    "prose": 0.15,  # lines of words by hand
    "printed": 0.3,  # lines of print
    "shapes": 0.35,  # printed boxes, strips of empty cells, arrows, dice, numbers
    "tabular": 0.25,  # digits in the cells of a table, instead of rows
    "beside": 0.25,  # words in the rows of digits, by the same pen
    "signs": 0.35,  # + - and so on in the rows of digits
    "uneven": 0.15,  # digits of half the height among the others
    "ones": 0.12,  # many a 1
    "continental": 0.3,  # ones with a long upstroke and crossed sevens, as many people write them outside America
    "fonts": 0.25,  # the digits of a font instead of MNIST's: of a handwritten one, by the pens of words, or typed
    "yellow": 0.1,
    "rough": 0.2,  # paper whose grain shows
    "gradient": 0.6,
    "vignette": 0.3,
    "shadow": 0.35,
    "glare": 0.12,
    "table": 0.22,
    "chalk": 0.22,  # light on dark
    "grey": 0.12,
    "drawn": 0.1,  # on a screen: no paper, no light, no camera
    "coarse": 0.16,  # enlarged from few pixels
    "blur": 0.1,
    "noise": 0.7,
    "jpeg": 0.5,
    "binarised": 0.12,
    "small": 0.18,  # a picture of one digit or a few, which fill it
}
# Half of the pages are clean: on the others, digits may be hard to see, and text takes long to be learnt.
HARMS = "faint breaks rough gradient vignette shadow glare coarse blur noise binarised".split()
CLEAN = KINDS | dict.fromkeys(HARMS, 0.03)
HEIGHTS, HUGE, TINY = (10, 48), (70, 240), (3.5, 10)  # of digits, in pixels
TYPED = 0.2  # share of the pages with a font's digits on which they are printed
CONTRAST, FAINT = (0.4, 1.0), (0.18, 0.4)
FAINTEST, GRAIN = 14, 0.7  # what is hardly seen differs by less from its paper: of 255, and of the paper's own spread
TEXT = ("letters", "prose", "printed", "shapes", "tabular", "beside", "signs", "fonts")  # kinds that need letters


@dataclass
class PageDigit:
    """A digit on a page."""

    label: int
    row: int  # rows are counted from the top
    box: tuple  # top, left, bottom, right, in pixels, of all its ink, also where the picture ends before
    seen: float  # the share of its ink that is in the picture
    clear: bool = True  # whether it can be told from its paper


@dataclass
class Page:
    """A page: a photo, uint8 [height, width, 3]; its digits; and whose ink is where, int [height, width], or -1."""

    photo: np.ndarray
    digits: list
    owner: np.ndarray


def make_page(rng, images, labels, shape=(256, 256), kinds=KINDS, height=None, pen=None, letters=None):
    """A Page of random digits among `images`, uint8 [N, 28, 28], with their `labels`, int [N].

    kinds: the chance of each kind; a kind that is not named does not come up. height: of the digits, in pixels. pen: as
    pens.any_pen gives it. Without height and pen, those of each page are chosen at random. letters: texts.Letters, for
    the kinds of TEXT, which do not come up without it.
    """
    has = {kind: rng.random() < kinds.get(kind, 0) for kind in KINDS}
    if has["binarised"]:
        has["table"] = False  # its grain would cover what stands on the sheet
    if letters is None:
        has |= dict.fromkeys(TEXT, False)
    height = height or np.exp(rng.uniform(*np.log(HUGE if has["huge"] else TINY if has["tiny"] else HEIGHTS)))
    pen = pen or any_pen(rng, height, has["faint"])
    font = None
    if has["fonts"]:
        font = letters.hand[rng.integers(len(letters.hand))]
        if rng.random() < TYPED:
            # Printed digits in forms are not to be read.
            has |= dict.fromkeys(("printed", "tabular", "boxes", "shapes"), False)
            font, pen = letters.printed[rng.integers(len(letters.printed))], None
    writer = layouts.Writer(rng, images, labels, has, height, pen, font)
    sheet = layouts.Sheet.blank(shape, letters)
    layout = layouts.table if has["tabular"] else layouts.scattered if has["scattered"] else layouts.rows
    glyphs = list(layout(writer, sheet))
    ink, owner = np.zeros(shape, np.float32), np.full(shape, -1)
    for number, (_, _, top, left, glyph) in enumerate(glyphs):
        page, part = overlap(shape, top, left, glyph.shape)
        own = glyph[part] > np.maximum(ink[page], 0.3 * glyph.max())
        owner[page][own] = number
        ink[page] = np.maximum(ink[page], glyph[part])
    if has["letters"]:
        layouts.words(writer, sheet, ink)
    if has["prose"]:
        layouts.prose(rng, sheet, height, ink, writer.width)
    if has["printed"] and not has["drawn"]:
        layouts.prose(rng, sheet, height, np.maximum(ink, sheet.ink))
    if has["shapes"] and not has["drawn"]:
        layouts.shapes(rng, sheet, height, np.maximum(ink, sheet.ink))
    covered = np.zeros(shape, np.float32)
    if has["drawn"]:
        scene = np.ones((*shape, 3), np.float32)
    else:
        scene = scenes.paper(rng, shape, has["yellow"], has["rough"])
        for kind in ("ruled", "squared", "dotted"):
            if has[kind]:
                scenes.rule(rng, scene, height, kind)
    scene = layouts.tint(rng, sheet, scene)
    all_ink = np.maximum(ink, dirt(rng, has, height, ink, [glyph[2:] for glyph in glyphs]))
    all_ink = np.maximum(all_ink, sheet.ink)
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
    for number, (label, row, top, left, glyph) in enumerate(glyphs):
        page, part = overlap(shape, top, left, glyph.shape)
        seen = float((glyph[part] * (1 - covered[page])).sum() / glyph.sum())
        clear = _stands_out(photo[page], owner[page] == number, all_ink[page] < 0.05)
        digits.append(PageDigit(label, row, (top, left, top + glyph.shape[0], left + glyph.shape[1]), seen, clear))
    page = Page(photo, digits, np.where(covered < 0.5, owner, -1))
    return _cut_out(rng, page) if has["small"] else page


def _stands_out(photo, own, paper):
    """Whether a digit can be told from the paper around it, in a part of a photo, in one colour at least."""
    if own.sum() < 3 or paper.sum() < 3:
        return False
    difference = np.abs(photo[own].mean(0) - photo[paper].mean(0))
    return bool((difference > np.maximum(FAINTEST, GRAIN * photo[paper].std(0))).any())


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
        box = a - top, b - left, c - top, d - left
        digits.append(replace(digit, box=box, seen=digit.seen * inside))
    return Page(page.photo[top:bottom, left:right], digits, page.owner[top:bottom, left:right])
