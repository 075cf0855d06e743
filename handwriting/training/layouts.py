"""Where digits stand on a page, and the words, signs and tables that stand around them."""

from dataclasses import dataclass

import cv2
import numpy as np

from handwriting.training.pens import overlap, trimmed, written
from handwriting.training.texts import (
    DRAWN_SIGNS,
    FONT_SIGNS,
    Letters,
    a_letter,
    a_sum,
    a_word,
    bare_one,
    continental,
    drawn_sign,
    handwritten,
    penned,
    typeset,
)

LEADING, GAP = (1.08, 2.6), (-0.02, 0.9)  # from row to row, from digit to digit, in heights
TOUCHING = (-0.16, 0.03)  # the gap between digits that touch
REPEATED = (0, 0, 0, 1, 1, 8, 9)  # digits that people write several times in a row
SMALLER = (0.4, 0.8)  # of a digit's height: uneven ones
LABEL = (0.35, 1.2)  # of a digit's height: capitals of printed text
CELL_HEIGHT, CELL_WIDTH = (1.15, 2.6), (1.3, 6)  # in heights of a digit
STRIP = 0.4, 1.15  # in heights of a digit: rows of a table in which nothing is written
WRITTEN_IN_CELLS = {  # what the cells of a table have, and how often
    "number": 0.5,
    "empty": 0.2,
    "label": 0.1,
    "sign": 0.15,
    "letter": 0.1,
    "word": 0.05,
}
IN_SUMS, IN_CELLS = tuple("+-×÷=()"), (*"-/", "tick", "cross", "arrow", "tally", "pips")  # signs that come up most


@dataclass
class Sheet:
    """A page while it is being written: what stands on it beside digits."""

    letters: Letters
    ink: np.ndarray  # float32 [height, width] in [0, 1], of the pen that writes the digits
    printed: np.ndarray  # the same, of a printer
    shade: np.ndarray  # float32 [height, width, 3], of coloured cells

    @classmethod
    def blank(cls, shape, letters):
        """An empty one."""
        ink, printed = np.zeros((2, *shape), np.float32)
        return cls(letters, ink, printed, np.ones((*shape, 3), np.float32))


def put(canvas, ink, top, left):
    """Lay ink, float32 [h, w], on a canvas."""
    page, part = overlap(canvas.shape, round(top), round(left), ink.shape)
    canvas[page] = np.maximum(canvas[page], ink[part])


def _put_word(canvas, word, baseline, left):
    """Lay a word, as typeset gives it, on a line; how wide it is."""
    if word is None:
        return 0
    ink, below = word
    put(canvas, ink, baseline + below - len(ink), left)
    return ink.shape[1]


class Writer:
    """Who writes the digits of one page: which digits, with which pen."""

    def __init__(self, rng, images, labels, has, height, pen, font=None):
        self.rng, self.images, self.labels = rng, images, labels
        self.has, self.height, self.pen, self.font = has, height, pen, font
        self.width = pen[1] if pen and pen[0] == "line" else max(1, 0.08 * height)  # pixels: of what is no digit
        self.by_label = {}
        self.bare = rng.random() < 0.5  # some people's 1 is one stroke

    def glyph(self, height, among=None):
        """A digit's label and its ink, of the label `among` where it is given."""
        rng = self.rng
        if among is None and rng.random() < (0.3 if self.has["ones"] else 0.07):
            among = 1  # the easiest to overlook
        if among is None:
            number = rng.integers(len(self.images))
        else:
            if among not in self.by_label:
                self.by_label[among] = np.flatnonzero(self.labels == among)
            number = rng.choice(self.by_label[among])
        label = int(self.labels[number])
        if self.font:
            return label, self._set(label, max(4, height))
        if label in (1, 7) and self.has["continental"] and rng.random() < 0.8:
            return label, continental(rng, label, max(4, height), self.pen)
        if label == 1 and self.bare:
            return label, bare_one(rng, max(4, height), self.pen)
        if self.has["uneven"] and (label == 0 or rng.random() < 0.25) and rng.random() < 0.6:
            height *= rng.uniform(*SMALLER)
        gaps = 0.4 * self.has["breaks"], 0.7 * self.has["open"]
        return label, written(rng, self.images[number], max(4, height), self.pen, *gaps)

    def _set(self, label, height):
        """The ink of a font's digit, cut to it: as words are written, or printed where its pen is None."""
        word = penned(self.rng, self.font, str(label), height, self.width) if self.pen else None
        ink, _ = word or typeset(self.font, str(label), height)
        return trimmed(ink)


def rows(writer, sheet):
    """Digits in rows that climb or fall a little, with words and signs: (label, row, top, left, ink) of each."""
    rng, has, height = writer.rng, writer.has, writer.height
    shape = sheet.ink.shape
    slope = rng.normal(0, 0.05)
    gap = rng.uniform(*(TOUCHING if has["touching"] else GAP))
    leading = rng.uniform(*LEADING) * height
    row, edge = 0, 0 if has["cut off"] else height * 0.7
    y = rng.uniform(-0.6, 1) * leading if has["cut off"] else edge + 0.6 * height + max(0, -slope) * shape[1]
    much_text = rng.uniform(0.05, 0.5)
    sums = has["signs"] and rng.random() < 0.5
    while y < shape[0] - (-0.5 * height if has["cut off"] else edge + 0.6 * height + max(0, slope) * shape[1]):
        x = rng.uniform(-height, 0.5 * shape[1]) if has["cut off"] else edge
        among, its_gap = None, gap
        any_signs = ([None] * (has["signs"] and rng.random() < 0.4) for _ in range(rng.integers(2, 17)))
        around = a_sum(rng).split("0") if sums else list(any_signs)  # the signs before each digit, and after the last
        for number, signs in enumerate(around, 1):
            middle = y + slope * x
            if has["beside"] and rng.random() < much_text:
                x += rng.uniform(0, 0.5) * height
                text = a_word(rng) if rng.random() < 0.8 else a_letter(rng)
                word = handwritten(rng, sheet.letters, text[:9], height * rng.uniform(0.7, 1.15), writer.width)
                x += _put_word(sheet.ink, word, middle + 0.5 * height, x) + height * rng.uniform(0.1, 0.9)
            for sign in signs:
                x += rng.uniform(0, 0.4) * height
                x += _a_sign(writer, sheet, sheet.ink, middle, x, sign) + height * rng.uniform(0.05, 0.5)
            if number == len(around):
                break
            if rng.random() < 0.12:
                among = rng.choice(REPEATED) if among is None else None
                its_gap = rng.uniform(*TOUCHING) if among is not None and rng.random() < 0.5 else gap
            label, glyph = writer.glyph(height * np.exp(rng.normal(0, 0.1)), among)
            lift = 0
            if has["uneven"] and len(glyph) < 0.8 * height:
                lift = rng.choice([0, 0.5, -0.5, -0.8]) * (height - len(glyph))
            top = round(y + slope * x + rng.normal(0, 0.05) * height - glyph.shape[0] / 2 + lift)
            if x + glyph.shape[1] > shape[1] - edge and not (has["cut off"] and x < shape[1]):
                break
            yield label, row, top, round(x), glyph
            x += glyph.shape[1] + height * max(-0.2, rng.normal(its_gap, 0.05 if its_gap < TOUCHING[1] else 0.12)) + 1
            if label == 1:
                x += max(0, 0.1 * height - glyph.shape[1] / 2)  # strokes beside each other, as in 11, don't touch
            if rng.random() < 0.12:
                x += rng.uniform(0.5, 2) * height
        y += leading
        row += 1


def _a_sign(writer, sheet, canvas, middle, left, sign=None):
    """Put a sign, any one unless it is given, on a canvas, with its middle at a row; how wide it is."""
    rng, height = writer.rng, writer.height
    if sign is None:
        often = IN_CELLS if writer.has["tabular"] else IN_SUMS
        chance = rng.random()
        sign = str(rng.choice(list(FONT_SIGNS) if chance < 0.12 else often if chance < 0.65 else DRAWN_SIGNS))
    if sign in FONT_SIGNS or (sign == "×" and rng.random() < 0.3):
        word = handwritten(rng, sheet.letters, sign.replace("×", "x"), height * 0.9, writer.width)
        return _put_word(canvas, word, middle + 0.4 * height, left)
    ink, rise = drawn_sign(rng, sign, height, None if canvas is sheet.printed else writer.pen)
    put(canvas, ink, middle - rise - len(ink) / 2, left)
    return ink.shape[1]


def scattered(writer, sheet):
    """A few digits apart from each other, or none: (label, row, top, left, ink) of each."""
    rng, shape = writer.rng, sheet.ink.shape
    taken = np.zeros(shape, bool)
    for number in range(rng.integers(0, 7)):
        label, glyph = writer.glyph(min(writer.height * np.exp(rng.normal(0, 0.35)), shape[0] / 2))
        beyond = 4 if writer.has["cut off"] else 0
        top, left = (
            int(rng.integers(-beyond, max(1, a - b) + beyond)) for a, b in zip(shape, glyph.shape, strict=True)
        )
        page, _ = overlap(shape, top - 3, left - 3, (glyph.shape[0] + 6, glyph.shape[1] + 6))
        if not taken[page].any():
            taken[page] = True
            yield label, number, top, left, glyph


def table(writer, sheet):
    """Digits in the cells of a printed table with labels: (label, row, top, left, ink) of each."""
    rng, height = writer.rng, writer.height
    shape = sheet.ink.shape
    font = sheet.letters.printed[rng.integers(len(sheet.letters.printed))]
    label_height = max(5, height * rng.uniform(*LABEL))
    pitch = height * rng.uniform(*CELL_HEIGHT)
    columns = [rng.uniform(-2, 0.4) * height]
    even = rng.uniform(*CELL_WIDTH) * height if rng.random() < 0.5 else None
    while columns[-1] < shape[1]:
        columns.append(columns[-1] + (even or rng.uniform(*CELL_WIDTH) * height))
    strips = rng.uniform(0, 0.6) if rng.random() < 0.4 else 0
    lines = [rng.uniform(-1, 0.5) * pitch]
    while lines[-1] < shape[0]:
        lines.append(lines[-1] + (height * rng.uniform(*STRIP) if rng.random() < strips else pitch))
    _draw_borders(rng, sheet, columns, lines, height)
    _shade(rng, sheet, columns, lines)
    headings, row_labels, numbered = rng.random(3) < (0.6, 0.75, 0.75)
    chances = np.array(list(WRITTEN_IN_CELLS.values())) * rng.uniform(0.1, 2, len(WRITTEN_IN_CELLS))
    number = 0
    for row, top in enumerate(lines[:-1]):
        pitch = lines[row + 1] - top
        for column, (left, right) in enumerate(zip(columns, columns[1:], strict=False)):
            if pitch < STRIP[1] * height:
                continue
            what = str(rng.choice(list(WRITTEN_IN_CELLS), p=chances / chances.sum()))
            if (row_labels and column == 0) or (headings and row == 0):
                what = str(rng.choice(["label", "sign", "number"], p=(0.75, 0.12, 0.13)))
            baseline = top + pitch / 2 + 0.5 * height + rng.normal(0, 0.08) * height
            x = left + rng.uniform(0.05, 0.5) * height
            if what == "number":
                if rng.random() < 0.5:
                    x = (left + right) / 2 - rng.uniform(0.2, 1) * height
                for _ in range(1 if rng.random() < 0.3 else rng.integers(1, 6)):
                    digit, glyph = writer.glyph(height * rng.uniform(0.8, 1.1))
                    if x + 0.5 * glyph.shape[1] > right:
                        break
                    yield digit, number, round(baseline - len(glyph)), round(x), glyph
                    x += glyph.shape[1] + max(1, rng.normal(0.15, 0.1) * height)
                number += 1
            elif what == "label":
                text = a_letter(rng) if rng.random() < 0.15 else a_word(rng, digits=True)
                if row_labels and numbered and column == 0:
                    text = str(row + 1) + str(rng.choice(["", "", ".", ")"]))
                elif rng.random() < 0.5:
                    text += " " + a_word(rng, digits=True)
                word = typeset(font, text, label_height)
                if word:
                    ink, below = word[0][:, : max(1, int(right - left))], word[1]
                    indent = max(0.15 * height, rng.choice([0, 0.5, 0.9]) * (right - left - ink.shape[1]))
                    _put_word(sheet.printed, (ink, below), top + pitch / 2 + 0.5 * label_height, left + indent)
            elif what == "sign":
                canvas = sheet.printed if rng.random() < 0.3 else sheet.ink
                _a_sign(writer, sheet, canvas, top + pitch / 2, (left + right) / 2 - 0.3 * height)
            elif what in ("letter", "word"):
                text = a_letter(rng) if what == "letter" else a_word(rng)
                high = height * rng.uniform(0.7, 1.1)
                _put_word(sheet.ink, handwritten(rng, sheet.letters, text[:8], high, writer.width), baseline, x)


def _draw_borders(rng, sheet, columns, lines, height):
    """Draw a table's lines: thin or thick, dotted, or only those across."""
    ink = np.zeros(sheet.ink.shape, np.uint8)
    width = 1 if rng.random() < 0.6 else max(1, round(rng.uniform(0.05, 0.2) * height))
    down, across = rng.random() < 0.85, rng.random() < 0.9
    if down:
        for x in columns:
            cv2.line(ink, (round(x), 0), (round(x + rng.normal(0, 1)), ink.shape[0]), 255, width, cv2.LINE_AA)
    if across:
        for y in lines:
            cv2.line(ink, (0, round(y)), (ink.shape[1], round(y + rng.normal(0, 1))), 255, width, cv2.LINE_AA)
    if rng.random() < 0.12:  # dotted
        dots = (np.add.outer(np.arange(ink.shape[0]), np.arange(ink.shape[1])) // max(1, width)) % 3 == 0
        ink *= dots
    np.maximum(sheet.printed, ink * np.float32(rng.uniform(0.3, 1) / 255), out=sheet.printed)


def _shade(rng, sheet, columns, lines):
    """Colour some rows and columns of a table."""
    if rng.random() < 0.3:
        for edges, axis in ((columns, 1), (lines, 0)):
            for low, high in zip(edges, edges[1:], strict=False):
                if rng.random() < 0.2:
                    part = [slice(None), slice(None)]
                    part[axis] = slice(max(0, round(low)), max(0, round(high)))
                    sheet.shade[tuple(part)] *= np.float32(rng.uniform(0.55, 1, 3))


def words(writer, sheet, digit_ink):
    """Words by hand here and there, mostly apart from the digits."""
    rng, shape = writer.rng, sheet.ink.shape
    for _ in range(rng.integers(1, max(2, 5 * shape[0] * shape[1] // 256**2))):
        high = writer.height * rng.uniform(0.6, 1.3)
        text = a_word(rng) if rng.random() < 0.7 else a_letter(rng)
        word = handwritten(rng, sheet.letters, text[:10], high, writer.width)
        _put_word(sheet.ink, word, rng.uniform(0, shape[0] + high), rng.uniform(-high, shape[1]))
    if rng.random() < 0.85:
        sheet.ink *= cv2.dilate(digit_ink, np.ones((5, 5))) < 0.2


def prose(rng, sheet, height, digit_ink, width=None):
    """Lines of text, on the sheet where no digits are: printed, or by the pen where its width is given."""
    canvas = sheet.printed if width is None else sheet.ink
    shape = canvas.shape
    high = np.clip(height * (rng.uniform(0.35, 1.1) if width is None else rng.uniform(0.6, 1.1)), 5, 120)
    font = sheet.letters.printed[rng.integers(len(sheet.letters.printed))]
    busy = cv2.dilate(np.uint8(digit_ink > 0.1), np.ones((3, 3)))
    leading = high * rng.uniform(1.4, 3.5)
    y, full = rng.uniform(-high, 2 * leading), rng.random() < 0.4
    while y < shape[0] + high:
        x = rng.uniform(-2 * high, high) if full else rng.uniform(-high, 0.7 * shape[1])
        for _ in range(60 if full else rng.integers(1, 8)):
            if x > shape[1] or (width and rng.random() < 0.05):
                break
            if width is None:
                word = typeset(font, a_word(rng, digits=True), high)
            else:
                word = handwritten(rng, sheet.letters, a_word(rng), high, width)
            if word:
                ink, below = word
                page, part = overlap(shape, round(y + below - len(ink)), round(x), ink.shape)
                if not busy[page].any():
                    canvas[page] = np.maximum(canvas[page], ink[part])
                x += ink.shape[1]
            x += high * rng.uniform(0.3, 0.8)
        if rng.random() < 0.1:  # a line to write on
            _leader(rng, canvas, y, high)
        y += leading


def shapes(rng, sheet, height, digit_ink):
    """Print boxes, strips of cells, signs, rows of dice and numbers where no digits are, as on forms."""
    shape = sheet.ink.shape
    busy = cv2.dilate(np.uint8(digit_ink > 0.1), np.ones((5, 5)))
    for _ in range(rng.integers(1, 9)):
        high, long = np.exp(rng.uniform(np.log(0.3), np.log((3, 9)))) * height
        kind = rng.choice(["box", "strip", "sign", "number"], p=(0.3, 0.25, 0.25, 0.2))
        if kind == "number":
            font = sheet.letters.printed[rng.integers(len(sheet.letters.printed))]
            text = str(rng.integers(0, 10 ** int(rng.integers(1, 4)))) + str(rng.choice(["", "", ".", ")"]))
            ink = np.pad(typeset(font, text, max(5, height * rng.uniform(0.4, 1.3)))[0], int(0.6 * height))
            if rng.random() < 0.2:
                middle = ink.shape[1] // 2, ink.shape[0] // 2
                cv2.circle(ink, middle, int(0.45 * min(ink.shape)), 1.0, max(1, round(0.05 * height)), cv2.LINE_AA)
        elif kind == "sign":
            sign = str(rng.choice(["arrow", "pips", "bullet", "cross", "tick", "-", "=", "/"]))
            one = drawn_sign(rng, sign, max(6, height * rng.uniform(0.6, 1.6)), None)[0]
            ink = np.hstack([np.pad(one, ((0, 0), (0, int(0.2 * height))))] * int(rng.integers(1, 4)))
        else:
            ink = np.zeros((int(high) + 6, int(long) + 6), np.uint8)
            width = max(1, round(rng.uniform(0.02, 0.15) * height))
            if rng.random() < 0.25:
                ink[3:-3, 3:-3] = rng.integers(20, 255)
            cv2.rectangle(ink, (2, 2), (ink.shape[1] - 3, ink.shape[0] - 3), 255, width, cv2.LINE_AA)
            if kind == "strip":
                for x in np.arange(rng.uniform(0.3, 3) * height, long, rng.uniform(0.5, 4) * height):
                    cv2.line(ink, (int(x) + 2, 2), (int(x) + 2, ink.shape[0] - 3), 255, width, cv2.LINE_AA)
            ink = ink / np.float32(255)
        top, left = rng.uniform(-high / 2, shape[0]), rng.uniform(-long / 2, shape[1])
        page, _ = overlap(shape, round(top), round(left), ink.shape)
        if not busy[page].any():
            put(sheet.printed, ink, top, left)


def _leader(rng, canvas, y, high):
    """Draw a line or dots to write on."""
    left, right = np.sort(rng.uniform(-0.2, 1.2, 2)) * canvas.shape[1]
    step = max(2, rng.uniform(0.15, 0.6) * high)
    dots = np.arange(left, right, step)
    for x in dots:
        end = (int(x), int(y)) if rng.random() < 0.98 else (int(x + step), int(y))
        cv2.line(canvas, (int(x), int(y)), end, 1.0, max(1, round(0.06 * high)), cv2.LINE_AA)


def tint(rng, sheet, scene, darkness=(0.4, 1)):
    """Print what the sheet's printer printed, and its coloured cells, on a scene."""
    colour = np.full(3, rng.uniform(0, 0.3)) if rng.random() < 0.7 else rng.uniform(0, 0.8, 3)
    scene = scene * sheet.shade
    blurred = sheet.printed if rng.random() < 0.5 else cv2.GaussianBlur(sheet.printed, (0, 0), 0.6)
    return scene * (1 - (blurred * rng.uniform(*darkness))[..., None] * np.float32(1 - colour))
