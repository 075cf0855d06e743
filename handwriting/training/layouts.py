"""Where digits stand on a page, and the words, signs and tables that stand around them."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from handwriting.training.pens import SOLID, overlap, rotated, written
from handwriting.training.scenes import spread
from handwriting.training.texts import (
    DIGITS,
    DRAWN_SIGNS,
    FONT_SIGNS,
    Piece,
    a_formula,
    a_letter,
    a_number,
    a_printed_sum,
    a_sum,
    a_word,
    drawn_sign,
    handwritten,
    typeset,
    width_of,
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
LEAN = -0.25, 0.25  # columns a row, mean and standard deviation, by which a leaning writer's digits lean
BY_PEN = 0.3  # share of the pages with digits by a writer of pen digits, among those without a font's
DRAWN = 0.3  # share of the hands that drew letters; the others are fonts
IN_SUMS, IN_CELLS = tuple("+-×÷=()"), (*"-/", "tick", "cross", "arrow", "tally", "pips")  # signs that come up most


@dataclass
class Placed:
    """A digit on a sheet."""

    label: int
    row: int
    left: int
    top: int
    ink: np.ndarray  # float32 [h, w] in [0, 1], cut to its ink
    printed: bool
    angle: float  # degrees clockwise by which it lies


@dataclass
class Sheet:
    """A page while it is being written."""

    ink: np.ndarray  # float32 [height, width] in [0, 1], of pens
    printed: np.ndarray  # the same, of a printer
    shade: np.ndarray  # float32 [height, width, 3], of coloured cells
    owner: np.ndarray  # int32 [height, width]: which of the digits the ink is of, or -1
    digits: list = field(default_factory=list)  # of Placed
    row: int = 0  # of the digits that come next

    @classmethod
    def blank(cls, shape):
        """An empty one."""
        ink, printed = np.zeros((2, *shape), np.float32)
        return cls(ink, printed, np.ones((*shape, 3), np.float32), np.full(shape, -1, np.int32))

    def put(self, pieces, baseline, left, printed=False, angle=0):
        """Lay a text, a list of Pieces, on a line; how wide it is. It may lie, by an angle in degrees clockwise."""
        canvas = self.printed if printed else self.ink
        turn = np.deg2rad(angle)
        for ink, x, y, label in pieces:
            if angle:
                across, down = x + ink.shape[1] / 2, y + ink.shape[0] / 2
                ink = rotated(ink, angle)
                x = np.cos(turn) * across - np.sin(turn) * down - ink.shape[1] / 2
                y = np.sin(turn) * across + np.cos(turn) * down - ink.shape[0] / 2
            x, y = round(left + x), round(baseline + y)
            page, part = overlap(canvas.shape, y, x, ink.shape)
            its, under = ink[part], canvas[page]
            if label is not None:
                self.owner[page][its > np.maximum(under, SOLID * ink.max())] = len(self.digits)
                self.digits.append(Placed(label, self.row, x, y, ink, printed, angle))
            np.maximum(under, its, out=under)
        return width_of(pieces)

    def is_free(self, pieces, baseline, left):
        """Whether nothing by hand and no digit stands where a text would."""
        if not pieces:
            return False
        top, below = min(piece.top for piece in pieces), max(piece.top + len(piece.ink) for piece in pieces)
        corner = round(baseline + top) - 2, round(left) - 2
        page, _ = overlap(self.ink.shape, *corner, (round(below - top) + 4, round(width_of(pieces)) + 4))
        return not (self.ink[page] > 0.1).any() and not (self.owner[page] >= 0).any()


class Writer:
    """Who writes a page: which digits, with which pen, and words in which hands."""

    def __init__(self, rng, source, has, height, pen):
        self.rng, self.source, self.has, self.height, self.pen = rng, source, has, height, pen
        self.width = pen[1] if pen[0] == "line" else max(1, 0.08 * height)  # pixels: of what is no digit
        self.typed, self.lean = has["typed"], rng.normal(*LEAN) if has["leaning"] else 0
        self.printer = source.printed[rng.integers(len(source.printed))]
        self.hands = [self.a_hand() for _ in range(1 if rng.random() < 0.5 else 3)]
        # Digits are a font's, a writer's of pen digits, or of MNIST, where each may be of another writer.
        self.font = self.by_pen = None
        if has["typed"]:
            self.font = self.printer
        elif has["fonts"]:
            self.font = source.hand[rng.integers(len(source.hand))]
        elif source.writers and rng.random() < BY_PEN:
            self.by_pen = _by_label(source.writers[rng.integers(len(source.writers))])
        self.continental = None
        if source.writers and has["continental"]:
            self.continental = _by_label(source.writers[rng.integers(len(source.writers))])

    def a_hand(self, latin=False):
        """The path of a font, or paths of letters that a person drew; latin: from a to z."""
        rng, source = self.rng, self.source
        drawn = source.latin if latin or rng.random() < 0.5 else source.drawn
        hands = drawn if drawn and rng.random() < DRAWN else source.hand
        return hands[rng.integers(len(hands))]

    def digit(self, height, among=None):
        """A digit as a Piece, of the label `among` where it is given."""
        rng, has = self.rng, self.has
        if among is None:  # 1 is the easiest to overlook
            among = 1 if rng.random() < (0.3 if has["ones"] else 0.07) else int(rng.integers(10))
        height = max(4, height)
        if self.font:
            text = str(among)
            pieces = typeset(self.font, text, height) if has["typed"] else None
            return (pieces or handwritten(rng, self.font, text, height, self.width))[0]._replace(left=0)
        if has["uneven"] and (among == 0 or rng.random() < 0.25) and rng.random() < 0.6:
            height *= rng.uniform(*SMALLER)
        shapes = self.by_pen or (self.continental if among in (1, 7) and rng.random() < 0.8 else None)
        if shapes and shapes[among]:
            shape = shapes[among][rng.integers(len(shapes[among]))]
        else:
            alike = self.source.by_label[among]
            shape = self.source.images[alike[rng.integers(len(alike))]]
        ink = written(rng, shape, height, self.pen, 0.4 * has["breaks"], 0.7 * has["open"], lean=self.lean)
        return Piece(ink, 0, -len(ink), among)

    def word(self, text, height):
        """A text by hand, as Pieces."""
        return handwritten(self.rng, self.hands[self.rng.integers(len(self.hands))], text, height, self.width)


def _by_label(writer):
    """A writer's digits as lists, by label."""
    return [[strokes for label, strokes in writer if label == number] for number in range(10)]


def rows(writer, sheet):
    """Write digits in rows that climb or fall a little, with words and signs."""
    rng, has, height = writer.rng, writer.has, writer.height
    shape = sheet.ink.shape
    slope = rng.normal(0, 0.05)
    gap = rng.uniform(*(TOUCHING if has["touching"] else GAP))
    leading = rng.uniform(*LEADING) * height
    edge = 0 if has["cut off"] else height * 0.7
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
                word = writer.word(text[:9], height * rng.uniform(0.7, 1.15))
                x += sheet.put(word, middle + 0.5 * height, x) + height * rng.uniform(0.1, 0.9)
            for sign in signs:
                x += rng.uniform(0, 0.4) * height
                x += _a_sign(writer, sheet, middle, x, sign, has["typed"]) + height * rng.uniform(0.05, 0.5)
            if number == len(around):
                break
            if rng.random() < 0.12:
                among = int(rng.choice(REPEATED)) if among is None else None
                its_gap = rng.uniform(*TOUCHING) if among is not None and rng.random() < 0.5 else gap
            digit = writer.digit(height * np.exp(rng.normal(0, 0.1 * (not has["typed"]))), among)
            high, wide = digit.ink.shape
            lift = 0
            if has["uneven"] and high < 0.8 * height:
                lift = rng.choice([0, 0.5, -0.5, -0.8]) * (height - high)
            if x + wide > shape[1] - edge and not (has["cut off"] and x < shape[1]):
                break
            middle = y + slope * x + rng.normal(0, 0.05 * (not has["typed"])) * height
            sheet.put([digit._replace(top=-high / 2 + lift)], middle, x, has["typed"])
            x += wide + height * max(-0.2, rng.normal(its_gap, 0.05 if its_gap < TOUCHING[1] else 0.12)) + 1
            if digit.label == 1:
                x += max(0, 0.1 * height - wide / 2)  # strokes beside each other, as in 11, don't touch
            if rng.random() < 0.12:
                x += rng.uniform(0.5, 2) * height
        y += leading
        sheet.row += 1


def _a_sign(writer, sheet, middle, left, sign=None, printed=False, height=None):
    """Put a sign, any one unless it is given, on a sheet, with its middle at a row; how wide it is."""
    rng, height = writer.rng, height or writer.height
    if sign is None:
        often = IN_CELLS if writer.has["tabular"] else IN_SUMS
        chance = rng.random()
        sign = str(rng.choice(list(FONT_SIGNS) if chance < 0.12 else often if chance < 0.65 else DRAWN_SIGNS))
    if sign in FONT_SIGNS or (sign == "×" and rng.random() < 0.3):
        word = writer.word(sign.replace("×", "x"), height * 0.9)
        return sheet.put(word, middle + 0.4 * height, left)
    ink, rise = drawn_sign(rng, sign, height, None if printed else writer.pen)
    return sheet.put([Piece(ink, 0, -rise - len(ink) / 2)], middle, left, printed)


def scattered(writer, sheet):
    """Write a few digits apart from each other, or none."""
    rng, shape = writer.rng, sheet.ink.shape
    for _ in range(rng.integers(0, 7)):
        digit = writer.digit(min(writer.height * np.exp(rng.normal(0, 0.35)), shape[0] / 2))
        beyond = 4 if writer.has["cut off"] else 0
        top, left = (
            int(rng.integers(-beyond, max(1, a - b) + beyond)) for a, b in zip(shape, digit.ink.shape, strict=True)
        )
        if sheet.is_free([digit], top - digit.top, left):
            sheet.put([digit], top - digit.top, left, writer.typed)
            sheet.row += 1


def table(writer, sheet):
    """Write digits in the cells of a printed table with labels."""
    rng, height = writer.rng, writer.height
    shape = sheet.ink.shape
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
                _a_number(writer, sheet, baseline, x, 1 if rng.random() < 0.3 else rng.integers(1, 6), right)
            elif what == "label":
                text = a_letter(rng) if rng.random() < 0.15 else a_word(rng, digits=True)
                if row_labels and numbered and column == 0:
                    text = str(row + 1) + str(rng.choice(["", "", ".", ")"]))
                elif rng.random() < 0.5:
                    text += " " + a_word(rng, digits=True)
                word = [
                    piece for piece in typeset(writer.printer, text, label_height) if width_of([piece]) < right - left
                ]
                indent = max(0.15 * height, rng.choice([0, 0.5, 0.9]) * (right - left - width_of(word)))
                sheet.put(word, top + pitch / 2 + 0.5 * label_height, left + indent, printed=True)
                sheet.row += 1
            elif what == "sign":
                _a_sign(writer, sheet, top + pitch / 2, (left + right) / 2 - 0.3 * height, printed=rng.random() < 0.3)
            elif what in ("letter", "word"):
                text = a_letter(rng) if what == "letter" else a_word(rng)
                sheet.put(writer.word(text[:8], height * rng.uniform(0.7, 1.1)), baseline, x)


def _a_number(writer, sheet, baseline, left, digits, right=np.inf, slope=0, points=0):
    """Write a number of so many digits as far as there is room; where it ends. points: the chance of a point in it."""
    rng, height, x = writer.rng, writer.height, left
    for _ in range(digits):
        digit = writer.digit(height * rng.uniform(0.8, 1.1))
        if x + 0.5 * digit.ink.shape[1] > right:
            break
        y = baseline + slope * (x - left)
        x += sheet.put([digit], y, x, writer.typed) + max(1, rng.normal(0.15, 0.1) * height)
        if rng.random() < points:
            x += _a_sign(writer, sheet, y - 0.5 * height, x, ".", writer.typed) + 0.1 * height
    sheet.row += 1
    return x


def worksheet(writer, sheet):
    """Print columns of sums and write answers beside them."""
    rng, height, shape = writer.rng, writer.height, sheet.ink.shape
    high = max(6, height * rng.uniform(0.5, 1.1))
    leading = max(high, 0.8 * height) * rng.uniform(1.3, 2.8)
    solved, points, signs = rng.uniform(0.5, 1), rng.choice([0, 0, 0.3]), rng.choice([0, 0, 0.5])
    left, first = rng.uniform(-4, 1) * high, rng.uniform(-0.5, 1.5) * leading
    while left < shape[1]:
        wide, y = 6 * high, first
        if rng.random() < 0.5:  # a heading
            text = f"{a_word(rng)} {rng.integers(1, 200)}" if rng.random() < 0.5 else f"({rng.integers(1, 20)})"
            sheet.put(typeset(writer.printer, text, high * rng.uniform(1, 1.6)), y, left + high, printed=True)
            sheet.row += 1
            y += leading * 1.2
        number = rng.integers(1, 30) if rng.random() < 0.3 else None
        while y < shape[0] + high:
            text = a_printed_sum(rng)
            if number is not None:
                text = f"{number}{rng.choice(list('.)'))} {text}"
                number += 1
            x = left + sheet.put(typeset(writer.printer, text, high), y, left, printed=True)
            sheet.row += 1
            x += rng.uniform(0.05, 0.5) * height
            if rng.random() < solved:
                down = rng.normal(0.05, 0.12) * height
                if rng.random() < signs:
                    sign = str(rng.choice(["<", ">", "=", "circled"]))
                    x += _a_sign(writer, sheet, y + down - 0.5 * height, x, sign)
                else:
                    slope = rng.normal(0, 0.1)
                    x = _a_number(writer, sheet, y + down, x, rng.integers(1, 5), slope=slope, points=points)
            wide = max(wide, x - left)
            y += leading
        left += wide + rng.uniform(0.3, 3) * height


def algebra(writer, sheet):
    """Write lines of algebra."""
    rng, height, shape = writer.rng, writer.height, sheet.ink.shape
    slope, leading, edge = rng.normal(0, 0.03), height * rng.uniform(1.4, 3), rng.uniform(-1, 2) * height
    y = rng.uniform(0, 1.5) * leading
    hand = writer.a_hand(latin=True)
    while y < shape[0] + 0.5 * height:
        x = edge + rng.choice([0, 0, 1, 3]) * height * rng.uniform(0, 1)
        while x < shape[1] and (x == edge or rng.random() < 0.8):
            x = _formula(writer, sheet, hand, a_formula(rng), x, y + slope * x, height)
            x += rng.uniform(1.5, 5) * height
            sheet.row += 1
        y += leading


def _formula(writer, sheet, hand, parts, x, middle, height):
    """Write a formula, as a_formula gives it, around the middle of a line; where it ends."""
    rng = writer.rng
    apart = rng.uniform(0.02, 0.3) * height
    for part in parts:
        x += rng.uniform(0.3, 1) * apart + 1
        if part[0] in DIGITS:
            digit = writer.digit(height * rng.uniform(0.85, 1.1), int(part))
            x += sheet.put([digit], middle + digit.ink.shape[0] / 2 + rng.normal(0, 0.04) * height, x, writer.typed)
        elif part == " ":
            x += rng.uniform(0.5, 2) * height
        elif isinstance(part, str) and part.isalpha():
            word = handwritten(rng, hand, part, height * rng.uniform(0.9, 1.3), writer.width)
            x += sheet.put(word, middle + 0.45 * height, x)
        elif isinstance(part, str):
            x += apart + _a_sign(writer, sheet, middle, x + apart, part, height=height) + apart
        elif part[0] == "power":
            x = _formula(writer, sheet, hand, part[1], x, middle - 0.5 * height, height * rng.uniform(0.45, 0.7))
        elif part[0] == "fraction":
            above, below = (
                _formula(writer, sheet, hand, its, x + 0.15 * height, middle + up * 0.7 * height, 0.85 * height)
                for its, up in zip(part[1:], (-1, 1), strict=True)
            )
            end = max(above, below) + 0.15 * height
            _stroke(writer, sheet, [(x, middle), (end, middle + rng.normal(0, 0.05) * height)])
            x = end
        else:
            end = _formula(writer, sheet, hand, part[1], x + 0.5 * height, middle, height)
            top = middle - rng.uniform(0.6, 0.75) * height
            bend = (x + 0.15 * height, middle + 0.55 * height)
            _stroke(writer, sheet, [(x, middle), bend, (x + 0.45 * height, top), (end + 0.1 * height, top)])
            x = end
    return x


def listing(writer, sheet):
    """Write a list: words with numbers, prices or phone numbers, one below the other."""
    rng, height, shape = writer.rng, writer.height, sheet.ink.shape
    leading, slope, edge = height * rng.uniform(1.2, 2.4), rng.normal(0, 0.03), rng.uniform(-1.5, 1.5) * height
    first, numbered, named = rng.integers(1, 20), *(rng.random(2) < (0.5, 0.7))
    column = edge + height * rng.uniform(3, 8) * named
    y = rng.uniform(0.3, 1.5) * leading
    while y < shape[0] + 0.5 * height:
        x = edge
        if numbered:
            x = _formula(writer, sheet, None, f"{first}{rng.choice(list('.)'))}", x, y + slope * x, height)
            sheet.row, first = sheet.row + 1, first + 1
        if named:
            word = writer.word(a_word(rng)[:10], height * rng.uniform(0.8, 1.2))
            x += sheet.put(word, y + slope * x + 0.5 * height, x + 0.5 * height)
        x = max(x + height, column)
        for _ in range(1 if rng.random() < 0.7 else 3):
            x = _formula(writer, sheet, None, a_number(rng), x, y + slope * x, height) + rng.uniform(1, 3) * height
            sheet.row += 1
        y += leading


def column_sums(writer, sheet):
    """Write sums in columns, digit below digit, with a line above the result and small digits carried."""
    rng, height, shape = writer.rng, writer.height, sheet.ink.shape
    across, down = height * rng.uniform(0.9, 1.5), height * rng.uniform(1.1, 1.7)
    top = rng.uniform(-1, 1) * down
    while top < shape[0]:
        right, lines = rng.uniform(2, 5) * across, int(rng.integers(2, 5))
        while right < shape[1] + 2 * across:
            most = rng.integers(2, 6)
            for line in range(lines + 1):
                middle = top + (line + 0.5) * down
                for place in range(most if line == lines else rng.integers(1, most + 1)):
                    digit = writer.digit(height * rng.uniform(0.85, 1.05))
                    left = right - (place + 0.5) * across - digit.ink.shape[1] / 2 + rng.normal(0, 0.06) * height
                    sheet.put([digit], middle + len(digit.ink) / 2, left, writer.typed)
                sheet.row += 1
            y, left = top + lines * down, right - (most + 1) * across
            _a_sign(writer, sheet, y - 0.5 * down, left, "+-×"[rng.integers(3)])
            _stroke(writer, sheet, [(left, y), (right + 0.2 * across, y + rng.normal(0, 0.1) * height)])
            if rng.random() < 0.3:
                digit = writer.digit(height * rng.uniform(0.4, 0.6), 1)
                sheet.put([digit], top, right - 1.5 * across, writer.typed)
                sheet.row += 1
            right += (most + rng.uniform(1.5, 4)) * across
        top += (lines + rng.uniform(1.5, 3)) * down


def form(writer, sheet):
    """Print labels with lines, dots or boxes beside them, and write on or in these."""
    rng, height, shape = writer.rng, writer.height, sheet.ink.shape
    high, leading = max(6, height * rng.uniform(0.35, 1)), height * rng.uniform(1.5, 3.2)
    style, filled = str(rng.choice(["line", "dots", "boxes", "boxes", "none"])), rng.uniform(0.4, 1)
    pitch, width = height * rng.uniform(0.75, 1.4), max(1, round(rng.uniform(0.02, 0.12) * height))
    y = rng.uniform(0, 1.5) * leading
    while y < shape[0] + height:
        x = rng.uniform(-4, 2) * height
        while x < shape[1]:
            text = a_word(rng, digits=True) + (" " + a_word(rng) if rng.random() < 0.4 else "") + ":" * rng.integers(2)
            x += sheet.put(typeset(writer.printer, text, high), y, x, printed=True) + rng.uniform(0.2, 1) * height
            sheet.row += 1
            count = int(rng.integers(1, 9))
            end = x + count * pitch
            if style == "boxes":
                for place in range(count):
                    corners = [(round(x + (place + n) * pitch), round(y + (1.5 * n - 1.25) * height)) for n in (0, 1)]
                    cv2.rectangle(sheet.printed, *corners, 1.0, width, cv2.LINE_AA)
            elif style == "line":
                cv2.line(sheet.printed, (round(x), round(y + 2)), (round(end), round(y + 2)), 1.0, width, cv2.LINE_AA)
            elif style == "dots":
                dots = "." * int((end - x) / max(1, width_of(typeset(writer.printer, "..", high)) / 2))
                sheet.put(typeset(writer.printer, dots, high), y + 2, x, printed=True)
            if rng.random() < filled:
                end = max(end, _filled_in(writer, sheet, y, x, count, pitch, boxes=style == "boxes"))
            x = end + rng.uniform(0.5, 3) * height
        y += leading


def _filled_in(writer, sheet, baseline, left, count, pitch, boxes):
    """Write into a form's boxes, or a word or a number on its line; where it ends."""
    rng, height, end = writer.rng, writer.height, left + count * pitch
    if boxes:
        for place in range(count):
            if rng.random() < 0.85:
                digit = writer.digit(height * rng.uniform(0.8, 1.15))
                x = left + (place + 0.5) * pitch + rng.normal(0, 0.08) * height - digit.ink.shape[1] / 2
                sheet.put([digit], baseline + rng.normal(0, 0.1) * height, x, writer.typed)
        sheet.row += 1
        return end
    if rng.random() < 0.2:
        return left + sheet.put(writer.word(a_word(rng)[:8], height), baseline, left)
    if rng.random() < 0.3:
        end = _formula(writer, sheet, None, a_number(rng), left, baseline - 0.5 * height, height)
        sheet.row += 1
        return end
    return _a_number(writer, sheet, baseline + rng.normal(0, 0.1) * height, left, count, end)


def sudoku(writer, sheet):
    """Print a sudoku, and write digits in some of its cells."""
    rng, height, shape = writer.rng, writer.height, sheet.ink.shape
    cell, width = height * rng.uniform(1.15, 2.2), max(1, round(rng.uniform(0.02, 0.08) * height))
    high = height * rng.uniform(0.7, 1.1)
    given, solved = rng.uniform(0.15, 0.5), rng.uniform(0.1, 0.6)
    corner = rng.uniform(-3, 1, 2) * cell
    for line in range(10):
        for along in np.eye(2):
            ends = [corner + cell * (line * along[::-1] + end * along) for end in (0, 9)]
            cv2.line(sheet.printed, *np.int32(np.rint(ends)), 1.0, 3 * width if line % 3 == 0 else width, cv2.LINE_AA)
    for number in range(81):
        x, y = corner + (np.array([number % 9, number // 9]) + 0.5) * cell
        chance = rng.random()
        if chance > given + solved or not (-cell < x < shape[1] + cell and -cell < y < shape[0] + cell):
            continue
        if chance < given:
            pieces = typeset(writer.printer, str(rng.integers(1, 10)), high)
            sheet.put(pieces, y + 0.5 * high, x - width_of(pieces) / 2, printed=True)
        else:
            digit = writer.digit(height * rng.uniform(0.8, 1.1), int(rng.integers(1, 10)))
            x, y = (x, y) + rng.normal(0, 0.06, 2) * cell
            sheet.put([digit], y + len(digit.ink) / 2, x - digit.ink.shape[1] / 2, writer.typed)
        sheet.row += 1


def frames(writer, sheet):
    """Print frames and lines several rows high, across everything or between the digits."""
    rng, height, shape = writer.rng, writer.height, sheet.ink.shape
    for _ in range(rng.integers(1, 4)):
        x, y = np.int32(rng.uniform(-0.1, 0.9, 2) * shape[::-1])
        wide, high = np.int32(np.exp(rng.uniform(np.log(2), np.log(14), 2)) * height)
        width = max(1, round(rng.uniform(0.03, 0.25) * height))
        if rng.random() < 0.5:
            cv2.rectangle(sheet.printed, (x, y), (x + wide, y + high), 1.0, width, cv2.LINE_AA)
            continue
        free = np.flatnonzero((sheet.owner[max(0, y) : max(1, y + high)] < 0).all(0))
        x = int(rng.choice(free)) if len(free) else x
        cv2.line(sheet.printed, (x, y), (x + int(rng.normal(0, 1)), y + high), 1.0, width, cv2.LINE_AA)


def seal(writer, sheet):
    """Stamp a seal: rings with a word in them, in a colour."""
    rng, shape = writer.rng, sheet.ink.shape
    stamp, radius = Sheet.blank(shape), int(rng.uniform(0.1, 0.35) * min(shape))
    x, y = (int(place) for place in rng.uniform(0, 1, 2) * shape[::-1])
    for share in (1, rng.uniform(0.6, 0.9)):
        cv2.circle(stamp.ink, (x, y), int(share * radius), 1.0, max(1, radius // 25), cv2.LINE_AA)
    word = typeset(writer.printer, a_word(rng), radius * rng.uniform(0.2, 0.4))
    angle = rng.uniform(-90, 90)
    turn, long = np.deg2rad(angle), width_of(word) / 2
    stamp.put(word, y - np.sin(turn) * long, x - np.cos(turn) * long, angle=angle)
    colour = np.float32(rng.uniform((0.5, 0, 0), (1, 0.4, 0.5))[rng.permutation(3)])
    sheet.shade *= 1 - spread(stamp.ink, rng.uniform(0.3, 0.9) * (1 - colour))


def _stroke(writer, sheet, points):
    """Draw a line through points (x, y), by the pen."""
    points = np.array(points)
    low = points.min(0)
    ink = written(writer.rng, [(points - low) / writer.height], writer.height, writer.pen, word=True)
    sheet.put([Piece(ink, 0, 0)], low[1] - writer.width / 2, low[0] - writer.width / 2)


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


def words(writer, sheet):
    """Write words here and there, mostly apart from the digits."""
    rng, shape = writer.rng, sheet.ink.shape
    apart = rng.random() < 0.85
    for _ in range(rng.integers(1, max(2, 5 * shape[0] * shape[1] // 256**2))):
        high = writer.height * rng.uniform(0.6, 1.3)
        text = a_word(rng, apart) if rng.random() < 0.7 else a_letter(rng)
        word = writer.word(text[:10], high)
        place = rng.uniform(0, shape[0] + high), rng.uniform(-high, shape[1])
        if not apart or sheet.is_free(word, *place):
            sheet.put(word, *place)
            sheet.row += 1


def sideways(writer, sheet):
    """Write or print a few words and numbers that lie on their side, or anyhow, where nothing else stands."""
    rng, shape = writer.rng, sheet.ink.shape
    for _ in range(rng.integers(1, 4)):
        angle = float(rng.choice([90, 180, 270])) if rng.random() < 0.7 else rng.uniform(20, 340)
        high = min(writer.height, 40) * rng.uniform(0.5, 1.3)
        text, print_it = (a_number(rng) if rng.random() < 0.7 else a_word(rng, digits=True)), rng.random() < 0.5
        pieces = typeset(writer.printer, text, high) if print_it else writer.word(text, high)
        long, turn = width_of(pieces), np.deg2rad(angle)
        y, x = rng.uniform(0.1, 0.9, 2) * shape
        around = Piece(
            np.empty((int(long * abs(np.sin(turn)) + 2 * high), int(long * abs(np.cos(turn)) + 2 * high))), 0, 0
        )
        top = y + min(0, long * np.sin(turn)) - high
        if pieces and sheet.is_free([around], top, x + min(0, long * np.cos(turn)) - high):
            sheet.put(pieces, y, x, print_it, angle)
            sheet.row += 1


def prose(writer, sheet, printed):
    """Write or print lines of text where no digits are."""
    rng, shape, height = writer.rng, sheet.ink.shape, writer.height
    high = np.clip(height * rng.uniform(0.35 if printed else 0.6, 1.1), 5, 120)
    font = writer.source.printed[rng.integers(len(writer.source.printed))]
    leading = high * rng.uniform(1.4, 3.5)
    y, full = rng.uniform(-high, 2 * leading), rng.random() < 0.4
    while y < shape[0] + high:
        x = rng.uniform(-2 * high, high) if full else rng.uniform(-high, 0.7 * shape[1])
        for _ in range(60 if full else rng.integers(1, 8)):
            if x > shape[1] or (not printed and rng.random() < 0.05):
                break
            text = a_word(rng, digits=printed or rng.random() < 0.3)
            word = typeset(font, text, high) if printed else writer.word(text, high)
            if sheet.is_free(word, y, x):
                sheet.put(word, y, x, printed)
            x += width_of(word) + high * rng.uniform(0.3, 0.8)
        if rng.random() < 0.1:  # a line to write on
            _leader(rng, sheet.printed if printed else sheet.ink, y, high)
        y += leading
        sheet.row += 1


def shapes(writer, sheet):
    """Print boxes, strips of cells, signs, rows of dice and numbers where no digits are, as on forms."""
    rng, shape, height = writer.rng, sheet.ink.shape, writer.height
    for _ in range(rng.integers(1, 9)):
        high, long = np.exp(rng.uniform(np.log(0.3), np.log((3, 9)))) * height
        kind = rng.choice(["box", "strip", "sign", "number"], p=(0.25, 0.2, 0.2, 0.35))
        place = rng.uniform(-high / 2, shape[0]), rng.uniform(-long / 2, shape[1])
        if kind == "number":
            font = writer.source.printed[rng.integers(len(writer.source.printed))]
            tall = np.exp(rng.uniform(np.log(7), np.log(max(8, 2 * height))))
            pieces = typeset(font, a_number(rng), tall)
            if pieces and rng.random() < 0.2:
                pieces.append(_circle(rng, pieces, tall))
        elif kind == "sign":
            sign = str(rng.choice(["arrow", "pips", "bullet", "cross", "tick", "-", "=", "/"]))
            one = drawn_sign(rng, sign, max(6, height * rng.uniform(0.6, 1.6)), None)[0]
            pieces = [Piece(one, number * (one.shape[1] + 0.2 * height), 0) for number in range(rng.integers(1, 4))]
        else:
            ink = np.zeros((int(high) + 6, int(long) + 6), np.uint8)
            width = max(1, round(rng.uniform(0.02, 0.15) * height))
            if rng.random() < 0.25:
                ink[3:-3, 3:-3] = rng.integers(20, 255)
            cv2.rectangle(ink, (2, 2), (ink.shape[1] - 3, ink.shape[0] - 3), 255, width, cv2.LINE_AA)
            if kind == "strip":
                for x in np.arange(rng.uniform(0.3, 3) * height, long, rng.uniform(0.5, 4) * height):
                    cv2.line(ink, (int(x) + 2, 2), (int(x) + 2, ink.shape[0] - 3), 255, width, cv2.LINE_AA)
            pieces = [Piece(ink / np.float32(255), 0, 0)]
        if sheet.is_free(pieces, *place):
            sheet.put(pieces, *place, printed=True)
            sheet.row += 1


def _circle(rng, pieces, height):
    """A circle around a text, as a Piece."""
    top, below = min(piece.top for piece in pieces), max(piece.top + len(piece.ink) for piece in pieces)
    radius = int(0.5 * np.hypot(width_of(pieces), below - top) + rng.uniform(0.1, 0.4) * height)
    ink = np.zeros((2 * radius + 7, 2 * radius + 7), np.uint8)
    cv2.circle(ink, (radius + 3, radius + 3), radius, 255, max(1, round(rng.uniform(0.04, 0.1) * height)), cv2.LINE_AA)
    return Piece(ink / np.float32(255), width_of(pieces) / 2 - radius - 3, (top + below) / 2 - radius - 3)


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
    return scene * (1 - spread(blurred, rng.uniform(*darkness) * (1 - colour)))


class Turn:
    """How a sheet is turned into a picture: by an angle, in degrees clockwise, around its middle."""

    def __init__(self, angle, shape, whole):
        """shape: of the picture; whole: whether the sheet is so large that no corner is left."""
        self.angle, self.shape, self.sheet = angle, shape, shape
        turn = np.deg2rad(angle)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        if whole or angle % 90 == 0:
            self.sheet = tuple(int(np.ceil(side)) for side in np.abs(np.rint(1e9 * rotation) / 1e9) @ shape)
        middle, new = ((np.array(size[::-1]) - 1) / 2 for size in (self.sheet, shape))
        self.matrix = np.hstack([rotation, (new - rotation @ middle)[:, None]])

    def image(self, image, corners=0, how=cv2.INTER_LINEAR):
        """An image of the sheet as it is in the picture, with what stands in its corners."""
        corners = np.broadcast_to(corners, 3).tolist()
        return cv2.warpAffine(image, self.matrix, self.shape[::-1], flags=how, borderValue=corners)

    def points(self, places):
        """Points (x, y), [N, 2], of the sheet, as they are in the picture."""
        return places @ self.matrix[:, :2].T + self.matrix[:, 2]
