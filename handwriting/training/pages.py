"""Photos of pages of digits and everything else: the detector learns from them; tests and benchmarks read them."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from handwriting.training import layouts, scenes
from handwriting.training.pens import SOLID, any_pen, dirt, ink_colour, least_of

# The kinds of difficulty, and how often a page that the detector learns from has each.
KINDS = {
    "turned": 0.2,  # by any angle
    "sideways": 0.06,  # words and numbers that lie on an upright page
    "cut off": 0.6,  # rows run over the edge of the picture
    "scattered": 0.25,  # digits of several sizes, here and there, instead of rows
    "touching": 0.35,
    "huge": 0.08,  # digits so large that only parts of their strokes are near each other
    "tiny": 0.1,  # digits too small to be found: from afar, a table's cell or a word looks like a large digit
    "breaks": 0.25,  # strokes with gaps
    "open": 0.2,  # a 0 that does not close
    "faint": 0.2,  # pencil, a dry pen
    "fat": 0.1,  # a marker
    "coloured": 0.55,
    "ruled": 0.2,
    "squared": 0.18,
    "dotted": 0.05,
    "boxes": 0.18,  # drawn around the digits
    "specks": 0.35,  # full stops, hyphens, ticks, dirt
    "scribbles": 0.25,
    "letters": 0.3,  # words here and there, by hand
    "prose": 0.15,  # lines of words by hand
    "printed": 0.35,  # lines of print
    "shapes": 0.35,  # printed boxes, strips of empty cells, arrows, dice, numbers
    "worksheet": 0.1,  # printed sums with answers by hand beside them, instead of rows
    "algebra": 0.08,  # equations by hand, instead of rows
    "form": 0.1,  # printed labels with lines or boxes to write in, instead of rows
    "sudoku": 0.04,  # instead of rows
    "column sums": 0.05,  # sums by hand, digit below digit, instead of rows
    "listing": 0.06,  # words, prices, phone numbers by hand, instead of rows
    "tabular": 0.22,  # digits in the cells of a table, instead of rows
    "beside": 0.25,  # words in the rows of digits, by the same pen
    "signs": 0.35,  # + - and so on in the rows of digits
    "circled": 0.1,  # some digits by hand, or underlined
    "frames": 0.12,  # printed, several rows high
    "seal": 0.03,
    "through": 0.08,  # what is on the back of the paper shows, mirrored
    "leaning": 0.12,
    "uneven": 0.15,  # digits of half the height among the others
    "ones": 0.12,  # many a 1
    "continental": 0.3,  # ones with an upstroke and crossed sevens of a writer of pen digits, among MNIST's digits
    "fonts": 0.15,  # the digits of a handwritten font, by the pens of words
    "typed": 0.1,  # all digits are printed
    "yellow": 0.1,
    "rough": 0.2,  # paper whose grain shows
    "gradient": 0.6,
    "vignette": 0.3,
    "shadow": 0.35,
    "glare": 0.12,
    "table": 0.22,
    "edges": 0.06,  # of a scan, dark, or a spiral
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
LAYOUTS = {  # instead of rows: the first of these kinds that a page has
    "worksheet": layouts.worksheet,
    "algebra": layouts.algebra,
    "form": layouts.form,
    "sudoku": layouts.sudoku,
    "column sums": layouts.column_sums,
    "listing": layouts.listing,
    "tabular": layouts.table,
    "scattered": layouts.scattered,
}
HEIGHTS, HUGE, TINY = (10, 48), (70, 240), (3.5, 10)  # of digits, in pixels
CONTRAST, FAINT, THROUGH = (0.4, 1.0), (0.18, 0.4), (0.03, 0.14)
FAINTEST, GRAIN = 14, 0.7  # what is hardly seen differs by less from its paper: of 255, and of the paper's own spread
RIGHT, WHOLE = 0.33, 0.35  # shares of the turned pages: near a multiple of 90 degrees; whose corners are paper too


@dataclass
class PageDigit:
    """A digit on a page."""

    label: int
    row: int  # of the same row or number; rows are counted from the top, then what stands around them
    box: tuple  # left, top, right, bottom, in pixels, of all its ink, also where the picture ends before
    seen: float  # the share of its ink that is in the picture
    clear: bool  # whether it can be told from its paper
    printed: bool  # or written by hand
    angle: float  # degrees clockwise by which it lies, in [0, 360)


@dataclass
class Page:
    """A page: a photo, uint8 [height, width, 3]; its digits; and whose ink is where, int32 [height, width], or -1."""

    photo: np.ndarray
    digits: list
    owner: np.ndarray


def make_page(rng, source, shape=(256, 256), kinds=KINDS, height=None, pen=None):
    """A Page of digits and text from a sources.Source.

    kinds: the chance of each kind; a kind that is not named does not come up. height: of the digits, in pixels. pen: as
    pens.any_pen gives it. Without height and pen, those of each page are chosen at random.
    """
    has = {kind: rng.random() < kinds.get(kind, 0) for kind in KINDS}
    if has["binarised"]:
        has["table"] = False  # its grain would cover what stands on the sheet
    height = height or np.exp(rng.uniform(*np.log(HUGE if has["huge"] else TINY if has["tiny"] else HEIGHTS)))
    pen = pen or any_pen(rng, height, has["faint"], has["fat"])
    turn = layouts.Turn(_an_angle(rng) if has["turned"] else 0, shape, rng.random() < WHOLE)
    sheet = layouts.Sheet.blank(turn.sheet)
    writer = layouts.Writer(rng, source, has, height, pen)
    _fill(writer, sheet)
    if has["drawn"]:
        scene = np.ones((*turn.sheet, 3), np.float32)
    else:
        scene = scenes.paper(rng, turn.sheet, has["yellow"], has["rough"])
        for kind in ("ruled", "squared", "dotted"):
            if has[kind]:
                scenes.rule(rng, scene, height, kind)
    if has["through"]:
        back = layouts.Sheet.blank(turn.sheet)
        layouts.rows(writer, back) if rng.random() < 0.15 else layouts.prose(writer, back, printed=True)
        mirrored = cv2.GaussianBlur(np.maximum(back.ink, back.printed)[:, ::-1], (0, 0), rng.uniform(0.4, 1.2))
        scene *= 1 - scenes.spread(mirrored * rng.uniform(*THROUGH))
    scene = layouts.tint(rng, sheet, scene)
    boxes = [(d.left, d.top, d.left + d.ink.shape[1], d.top + d.ink.shape[0]) for d in sheet.digits if not d.printed]
    ink = np.maximum(sheet.ink, dirt(rng, has, height, np.uint8(sheet.owner >= 0), boxes))
    darkness = rng.uniform(*(FAINT if has["faint"] else CONTRAST))
    if not has["drawn"] and rng.random() < 0.5:  # a pen that writes unevenly
        darkness = darkness * np.clip(1 + scenes.field(rng, turn.sheet, int(rng.integers(8, 60)), 0.25), 0.4, 1)
    scene *= 1 - scenes.spread(ink * darkness, 1 - ink_colour(rng, has["coloured"]))
    blank = np.float32(np.maximum(ink, sheet.printed) < 0.05)
    owner, covered = sheet.owner, np.zeros(shape, np.float32)
    if turn.angle:
        corners = _colour_of_corners(rng, scene)
        scene, covered = turn.image(scene, corners), 1 - turn.image(np.ones(turn.sheet, np.float32))
        owner, blank = turn.image(owner, -1, cv2.INTER_NEAREST), turn.image(blank)
    if not has["drawn"]:
        if has["table"]:
            picture, where = scenes.table(rng, shape)
            scene += (picture - scene) * scenes.spread(where)
            covered = np.maximum(covered, where)
        if has["edges"]:
            where = scenes.edges(rng, shape)
            scene += (rng.uniform(0, 0.2) - scene) * scenes.spread(where)
            covered = np.maximum(covered, where)
        scene *= scenes.spread(scenes.light(rng, shape, has))
    if has["chalk"]:
        scene = 1 - np.clip(scene, 0, 1)
    if has["grey"]:
        scene = scenes.spread(cv2.transform(scene, np.full((1, 3), 1 / 3)))
    if has["coarse"]:
        scene = scenes.coarse(rng, scene)
    harms = (has[kind] and not has["drawn"] for kind in ("blur", "noise", "jpeg", "binarised"))
    photo = scenes.photographed(rng, scene, height, *harms)
    owner[covered >= 0.5] = -1
    page = Page(photo, _digits(sheet, turn, photo, owner, covered, blank > 0.5), owner)
    return _cut_out(rng, page) if has["small"] else page


def _an_angle(rng):
    """An angle by which a page is turned, in degrees."""
    if rng.random() < RIGHT:
        return float((90 * rng.integers(4) + (rng.normal(0, 3) if rng.random() < 0.5 else 0)) % 360)
    return rng.uniform(0, 360)


def _fill(writer, sheet):
    """Write and print everything on a sheet."""
    has = writer.has
    for kind, layout in LAYOUTS.items():
        if has[kind]:
            layout(writer, sheet)
            break
    else:
        layouts.rows(writer, sheet)
    if has["letters"]:
        layouts.words(writer, sheet)
    if has["sideways"]:
        layouts.sideways(writer, sheet)
    if has["prose"]:
        layouts.prose(writer, sheet, printed=False)
    if has["printed"]:
        layouts.prose(writer, sheet, printed=True)
    for kind in ("shapes", "frames", "seal"):
        if has[kind]:
            getattr(layouts, kind)(writer, sheet)


def _colour_of_corners(rng, scene):
    """What stands in the corners that turning a scene leaves: mostly the colour of its border, or any one."""
    if rng.random() < 0.7:
        return np.median(np.concatenate([scene[0], scene[-1], scene[:, 0], scene[:, -1]]), 0)
    return np.full(3, rng.choice([0, 1])) if rng.random() < 0.5 else rng.uniform(0, 1, 3)


def _digits(sheet, turn, photo, owner, covered, blank):
    """The PageDigits of a sheet that is turned and photographed."""
    if not sheet.digits:
        return []
    masks = [digit.ink > least_of(digit.ink) for digit in sheet.digits]
    solid = np.concatenate([d.ink[mask] > SOLID * d.ink.max() for d, mask in zip(sheet.digits, masks, strict=True)])
    counts = [np.count_nonzero(mask) for mask in masks]
    whose, starts = np.repeat(np.arange(len(masks)), counts), np.cumsum([0, *counts[:-1]])
    places = [np.argwhere(mask)[:, ::-1] + (d.left, d.top) for d, mask in zip(sheet.digits, masks, strict=True)]
    places = np.concatenate(places)
    inside = ((places >= 0) & (places < sheet.owner.shape[::-1])).all(1)
    x, y = np.where(inside[:, None], places, 0).T
    own = solid & inside & (sheet.owner[y, x] == whose)
    places = turn.points(places)
    low, high = (edge.reduceat(places, starts) for edge in (np.minimum, np.maximum))
    boxes = np.concatenate([low, high + 1], 1)
    x, y = np.int32(np.rint(places)).T
    own &= (x >= 0) & (x < owner.shape[1]) & (y >= 0) & (y < owner.shape[0])
    own[own] = covered[y[own], x[own]] < 0.5
    seen = np.bincount(whose, own) / np.bincount(whose, solid)
    clear = _stand_out(photo, owner, blank, boxes)
    return [
        PageDigit(d.label, d.row, tuple(box), share, is_clear, d.printed, (d.angle + turn.angle) % 360)
        for d, box, share, is_clear in zip(sheet.digits, boxes.tolist(), seen.tolist(), clear.tolist(), strict=True)
    ]


def _stand_out(photo, owner, blank, boxes):
    """Whether each digit can be told from the paper around it, in one colour at least.

    owner: int32 [height, width]; blank: bool, where there is no ink; boxes: [digits, 4].
    """
    number = len(boxes)
    own = np.flatnonzero(owner >= 0)
    whose = owner.ravel()[own]
    sizes = np.bincount(whose, minlength=number)
    colours = photo.reshape(-1, 3)[own]
    means = np.stack([np.bincount(whose, colour, number) for colour in colours.T], 1) / np.maximum(1, sizes)[:, None]
    sums, squares = cv2.integral2(photo * cv2.merge([blank.view(np.uint8)] * 3), sdepth=cv2.CV_64F, sqdepth=cv2.CV_64F)
    areas = cv2.integral(blank.view(np.uint8))
    margin = 2 + 0.1 * (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True)
    edges = np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1)
    left, top, right, bottom = np.int32(np.clip(edges, 0, [photo.shape[1], photo.shape[0]] * 2)).T

    def within(table):
        return table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]

    area = within(areas)
    paper = within(sums) / np.maximum(1, area)[:, None]
    spread = np.sqrt(np.maximum(0, within(squares) / np.maximum(1, area)[:, None] - paper**2))
    seen = (np.abs(means - paper) > np.maximum(FAINTEST, GRAIN * spread)).any(1)
    return seen & (sizes >= 3) & (area >= 3)


def _cut_out(rng, page):
    """The page around one of its digits and perhaps some of its neighbours, close to their ink."""
    seen = [digit for digit in page.digits if digit.seen > 0.5]
    if not seen:
        return page
    left, top, right, bottom = seen[rng.integers(len(seen))].box
    height, width = page.photo.shape[:2]
    side = max(bottom - top, right - left)
    wider = 0 if rng.random() < 0.5 else rng.uniform(0.5, 4) * side
    margins = side * rng.uniform(*((0, rng.uniform(0.02, 0.4)) if rng.random() < 0.8 else (0.3, 0.8)), 4)
    top, bottom = int(max(0, top - margins[0])), int(min(height, bottom + margins[1] + 1))
    left, right = int(max(0, left - margins[2])), int(min(width, right + margins[3] + wider + 1))
    bottom, right = min(height, max(bottom, top + 8)), min(width, max(right, left + 8))
    owner = page.owner[top:bottom, left:right]
    whole, inside = (np.bincount(part[part >= 0], minlength=len(page.digits)) for part in (page.owner, owner))
    digits = [
        replace(digit, box=tuple(np.subtract(digit.box, (left, top, left, top)).tolist()), seen=digit.seen * share)
        for digit, share in zip(page.digits, inside / np.maximum(1, whole), strict=True)
    ]
    return Page(page.photo[top:bottom, left:right], digits, owner)
