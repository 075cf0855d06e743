"""What stands on pages beside MNIST's and pen digits: words in fonts or letters that people drew, and signs."""

import functools
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from handwriting.training.pens import bounds, printed, trimmed, written

FORM = 22  # pixels: capital height at which a handwritten word is set before a pen writes it
WORDS = (
    "Name Date Total Marks Mark Math Maths Sum Score Points Grade Class Roll Page Test Exam Question Answer Signature "
    "Address Phone Number Amount Price Qty Item Room Year Month Day Time Week January February March April May June "
    "July August September October November December Mon Tue Wed Thu Fri Sat Sun one two three four five six seven "
    "eight nine ten eleven twelve twenty thirty forty fifty hundred thousand only and of the to in for with from by at "
    "is are was not no yes kg cm mm km ml hr min sec pcs per each left right born died son daughter wife married "
    "Juni Juli Mai Marts Maj Oktober Dezember Summe Datum Seite Spiel Gesamt gesamt unten oben English Hindi Science "
    "Physics Biology History result correct wrong good well done see cash paid due balance net gross tax net"
).split()
VOWELS, CONSONANTS = "aeiou", "bcdfghjklmnpqrstvwxyz"
CAPITALS = "ACDEFHKLMNPRTUVWXY"  # that stand alone: without those that are written like a digit
SMALL = "acdefhkmnprtuvwxy"
FONT_SIGNS = "%$€#*&?!<>@"
DIGITS = "0123456789"
OPERATORS = "+-×÷:/"
DRAWN_SIGNS = (*"+-×÷=()[]/,.:{}<>", "tick", "cross", "arrow", "tally", "bullet", "pips", "triangle", "circled")
UNKNOWNS = "xxxxyyyzabcnkm"  # of algebra


class Piece(NamedTuple):
    """A part of a text: a digit, or what is none."""

    ink: np.ndarray  # float32 [h, w] in [0, 1], cut to its ink
    left: float  # pixels from the start of the text
    top: float  # pixels from the baseline, down
    label: int | None = None  # which digit it is


def a_number(rng):
    """A number as it stands in text: whole, of a list, a decimal, a price, a date, a time, a page, a sum."""
    kind = rng.random()
    number = int(rng.integers(0, 10 ** int(rng.integers(1, 6))))
    if kind < 0.4:
        return str(number)
    if kind < 0.55:
        return str(number % 100) + str(rng.choice([".", ")", ":", "%", "/", "-", ","]))
    few = int(rng.integers(0, 13)), int(rng.integers(0, 60)), int(rng.integers(1900, 2031))
    texts = f"{few[0]}.{few[1]:02d}", f"{few[0]}:{few[1]:02d}", f"{few[1] % 31 + 1}/{few[0]}/{few[2]}", f"{few[2]}"
    sums = (
        f"{few[1]}+{few[0]}=",
        f"({number % 100})",
        f"${few[1]}.{number % 100:02d}",
        f"{number % 1000} {few[2] % 1000}",
    )
    return str(rng.choice([*texts, *sums]))


def a_word(rng, digits=False):
    """A word, a made-up word, a letter or a few signs. digits: whether numbers may come up."""
    chance = rng.random()
    if digits and chance < 0.35:
        return a_number(rng)
    if digits:
        chance = rng.random()
    if chance < 0.6:
        word = WORDS[rng.integers(len(WORDS))]
    else:
        consonants = rng.random() < 0.6
        word = ""
        for _ in range(int(rng.integers(2, 10))):
            kind = CONSONANTS if consonants else VOWELS
            word += kind[rng.integers(len(kind))]
            consonants = not consonants if rng.random() < 0.8 else consonants
    if len(word) > 2 and rng.random() < 0.2:
        word = word.upper()
    elif rng.random() < 0.3:
        word = word.capitalize()
    if rng.random() < 0.06:
        word = str(rng.choice(list(FONT_SIGNS))) + word
    return word + (str(rng.choice(list(".,:;-/)?!"))) if rng.random() < 0.15 else "")


def a_letter(rng):
    """A letter that stands alone, such as a grade."""
    letter = str(rng.choice(list(CAPITALS if rng.random() < 0.7 else SMALL)))
    if rng.random() < 0.1:  # initials
        letter += "." + str(rng.choice(list(CAPITALS)))
    return letter + (str(rng.choice(["+", "-", ".", ")"])) if rng.random() < 0.2 else "")


def a_sum(rng):
    """A sum, a date, a time or a price, such as "00+(0×000)=00" or "00/00/0000": a 0 stands for any digit."""

    def number():
        return "0" * int(rng.integers(1, 5))

    text = number()
    if rng.random() < 0.4:
        sign = str(rng.choice(list("/:.-,")))
        return text + "".join(sign + number() for _ in range(rng.integers(1, 3)))
    for _ in range(rng.integers(1, 5)):
        part = number()
        if rng.random() < 0.25:
            part = "(" + part + str(rng.choice(list(OPERATORS))) + number() + ")"
        text += str(rng.choice(list(OPERATORS))) + part
    return text + ("=" + number() if rng.random() < 0.5 else "")


def a_printed_sum(rng):
    """A sum to be solved, as it is printed, such as "12 + 3 =" or "0.4÷8="."""

    def number():
        whole = str(rng.integers(0, 10 ** int(rng.integers(1, 4))))
        return whole if rng.random() < 0.8 else f"{int(whole) % 100}.{rng.integers(0, 100)}"

    text = number()
    for _ in range(1 if rng.random() < 0.6 else 2):
        part = number() if rng.random() < 0.85 else f"({number()} {rng.choice(list('+-'))} {number()})"
        text += f" {rng.choice(list(OPERATORS[:4]))} {part}"
    text += " ="
    return text.replace(" ", "") if rng.random() < 0.3 else text


def a_formula(rng):
    """A line of algebra, such as "2x+3y=16": a list of characters and of (name, part, ...), where parts are such lists.

    The names: "power", of one part above the line; "fraction", of two; "root", of one.
    """

    def number(most=3):
        return list(str(rng.integers(1, 10 ** int(rng.integers(1, most)))))

    def term():
        kind = rng.random()
        if kind < 0.35:
            return number() if kind < 0.25 else [*number(), ",.."[rng.integers(3)], *number(2)]
        if kind < 0.75:
            its = (number(2) if rng.random() < 0.6 else []) + [UNKNOWNS[rng.integers(len(UNKNOWNS))]]
            return its + ([("power", number(2))] if rng.random() < 0.25 else [])
        if kind < 0.88:
            return ["(", *term(), "+-"[rng.integers(2)], *number(2), ")"]
        return [("fraction", number() if kind < 0.93 else term(), number(2))] if kind < 0.97 else [("root", number())]

    def side():
        its = (["-"] if rng.random() < 0.15 else []) + term()
        for _ in range(rng.integers(0, 3)):
            its += ["++--×÷"[rng.integers(6)], *term()]
        return its

    before = [*number(2), ".)"[rng.integers(2)], " "] if rng.random() < 0.12 else []
    return before + side() + (["===<>"[rng.integers(5)], *side()] if rng.random() < 0.85 else [])


@functools.lru_cache(600)
def _font(path, size):
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)  # three times as fast


@functools.lru_cache(400)
def _capital_share(path):
    _, top, _, bottom = _font(path, 100).getbbox("H")
    return max(20, bottom - top) / 100


@functools.lru_cache(8000)
def _glyph(path, size, character):
    """A character's ink, or None without any, how far left and top of it are from the pen, and its advance."""
    font = _font(path, size)
    image = Image.new("L", (4 * size, 4 * size))
    ImageDraw.Draw(image).text((size, 2 * size), character, 255, font, anchor="ls")
    box = image.getbbox()
    if box is None:
        return None, 0, 0, font.getlength(character)
    ink = np.asarray(image.crop(box), np.float32) / 255
    rows, columns = bounds(ink)
    left, top = box[0] + columns.start - size, box[1] + rows.start - 2 * size
    return ink[rows, columns], left, top, font.getlength(character)


def typeset(path, text, height):
    """Text in a font with capitals `height` pixels high: a list of Pieces, a character each."""
    size = max(5, round(height / _capital_share(path)))
    step = 1 << max(0, size.bit_length() - 4)  # few sizes, since opening a font takes half a millisecond
    size = step * round(size / step)
    pieces, x = [], 0
    for character in text:
        ink, left, top, advance = _glyph(path, size, character)
        if ink is not None:
            pieces.append(Piece(ink, round(x) + left, top, int(character) if character in DIGITS else None))
        x += advance
    return pieces


def width_of(pieces):
    """How wide a text is, in pixels."""
    return max((piece.left + piece.ink.shape[1] for piece in pieces), default=0)


def _joined(pieces):
    """Pieces as one, which is no digit."""
    left, top = min(piece.left for piece in pieces), min(piece.top for piece in pieces)
    below = max(piece.top + piece.ink.shape[0] for piece in pieces)
    ink = np.zeros((round(below - top), round(width_of(pieces) - left)), np.float32)
    for piece in pieces:
        y, x = round(piece.top - top), round(piece.left - left)
        part = ink[y : y + piece.ink.shape[0], x : x + piece.ink.shape[1]]
        np.maximum(part, piece.ink[: part.shape[0], : part.shape[1]], out=part)
    return Piece(ink, left, top)


def handwritten(rng, hand, text, height, width):
    """A text by hand with capitals about `height` pixels high and a pen `width` pixels wide: a list of Pieces.

    hand: the path of a font, or paths of letters that a person drew, of which any stand for those of the text.
    """
    if isinstance(hand, list):
        return _drawn_word(rng, hand, text, height, width)
    if rng.random() < 0.5:  # as the font has it, or bolder
        grown = max(0, round(min(width, 0.15 * height) - 0.06 * height))
        pieces = typeset(hand, text, height)
        if grown:
            wide = np.ones((grown + 1, grown + 1))
            return [
                Piece(cv2.dilate(np.pad(ink, grown), wide), left - grown, top - grown, label)
                for ink, left, top, label in pieces
            ]
        return pieces
    pieces, word, scale = [], [], height / FORM
    for piece in [*typeset(hand, text, FORM), None]:
        if word and (piece is None or piece.label is not None):
            pieces.append(_joined(word))
            word = []
        if piece is not None:
            pieces, word = (pieces, [*word, piece]) if piece.label is None else ([*pieces, piece], [])
    return [_penned(rng, piece, scale, width) for piece in pieces]


def _penned(rng, piece, scale, width):
    """A font's Piece, so many times as large, by a pen."""
    ink, left, top, label = piece
    whole = np.uint8(np.minimum(255, 510 * ink))  # hairlines stay whole
    if whole.max() < 180:
        whole = np.uint8(255 * (ink > ink.max() / 2))
    ink = written(rng, whole, max(4, len(ink) * scale), ("line", width), word=True)
    return Piece(ink, left * scale, (top + len(piece.ink)) * scale - len(ink), label)


@functools.lru_cache(None)
def _letter(path):
    """A drawn letter, uint8 of 28 pixels at the most, or None where its strokes are too thin for that."""
    image = trimmed(255 - cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    few = 28 / max(image.shape)
    image = cv2.resize(cv2.dilate(image, np.ones((3, 3))), None, fx=few, fy=few, interpolation=cv2.INTER_AREA)
    return image if (image > 160).any() else None


def _drawn_word(rng, person, text, height, width):
    """Letters that one person drew, one beside the other."""
    pieces, x, height = [], 0, height * rng.uniform(0.6, 1)
    for character in text[:8] if len(person) == 26 else text[:8].ljust(2, "a"):  # a letter alone may be a digit's twin
        number = ord(character.lower()) - ord("a")
        if not 0 <= number < len(person):
            number = rng.integers(len(person))
        image = _letter(person[number])
        if image is None:
            continue
        own = height * rng.uniform(0.8, 1.2) * (image.shape[0] / 28) ** 0.5
        ink = written(rng, image, max(4, own), ("line", width))
        lift = 0 if rng.random() < 0.8 else (height - len(ink)) / 2
        pieces.append(Piece(ink, x, -len(ink) - lift))
        x += ink.shape[1] + rng.uniform(-0.1, 0.3) * height
    return pieces


def drawn_sign(rng, sign, height, pen):
    """A sign beside digits `height` high: its ink, float32 [h, w], and how far its middle is above theirs.

    pen: as pens.any_pen gives it, and the sign is written as digits are; None: it is printed.
    """
    wide = 0.33 * np.exp(rng.normal(0, 0.3))  # in heights
    strokes, rise = [], 0

    def line(*points):
        strokes.append(np.array(points, float) * wide + rng.normal(0, 0.06 * wide, (len(points), 2)))

    def arc(side, high):
        angles = np.linspace(-1, 1, 9)
        line(*[(side * 0.9 * np.cos(1.3 * a), high * np.sin(1.3 * a)) for a in angles])

    def dot(x, y, radius):
        turns = np.linspace(0, 2 * np.pi * (1 + 30 * radius), int(10 + 400 * radius))
        spiral = radius * turns / turns[-1] * (np.cos(turns), np.sin(turns))
        strokes.append(spiral.T + np.array([x, y]) * wide)

    point = rng.uniform(0.02, 0.05)
    if sign == "+":
        line((-1, 0), (1, 0))
        line((0, -1), (0, 1))
    elif sign == "×":
        line((-0.8, -0.8), (0.8, 0.8))
        line((0.8, -0.8), (-0.8, 0.8))
    elif sign == "-":
        line((-1, 0), (1, 0))
    elif sign == "=":
        line((-1, -0.35), (1, -0.35))
        line((-1, 0.35), (1, 0.35))
    elif sign == "÷":
        line((-1, 0), (1, 0))
        dot(0, -0.7, point)
        dot(0, 0.7, point)
    elif sign in ("<", ">"):
        side, high = (-1 if sign == "<" else 1), rng.uniform(0.5, 1)
        line((-0.8 * side, -high), (0.8 * side, 0), (-0.8 * side, high))
    elif sign in ("(", ")"):
        arc(1 if sign == ")" else -1, rng.uniform(1.5, 2.4))
    elif sign in ("[", "]"):
        side, high, long = (-1 if sign == "[" else 1), rng.uniform(1.4, 3), rng.uniform(0.3, 0.8)
        line((-side * long, -high), (0, -high), (0, high), (-side * long, high))
    elif sign in ("{", "}"):
        side = -1 if sign == "{" else 1
        line((-side * 0.6, -2), (0, -1.6), (0, -0.4), (side * 0.5, 0), (0, 0.4), (0, 1.6), (-side * 0.6, 2))
    elif sign == "/":
        line((rng.uniform(0.6, 1.4), -rng.uniform(1.2, 1.8)), (-rng.uniform(0.6, 1.4), rng.uniform(1.2, 1.8)))
    elif sign == ",":
        line((0, 0), (-0.25, 0.7))
        rise = -0.45 * height
    elif sign == ".":
        dot(0, 0, point)
        rise = -0.45 * height
    elif sign == ":":
        dot(0, -0.6, point)
        dot(0, 0.6, point)
    elif sign == "triangle":
        line((0, -1.3), (1.3, 1), (-1.3, 1), (0, -1.3))
    elif sign == "circled":  # a sign in a circle
        angles = np.linspace(0, 2 * np.pi * rng.uniform(0.95, 1.1), 25) + rng.uniform(0, 6)
        strokes.append(wide * 2.2 * np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.85, 1.15, 2))
        line((-0.8, -0.7), (0.8, 0), (-0.8, 0.7)) if rng.random() < 0.5 else line((-1, 0), (1, 0))
    elif sign == "tick":
        line((-0.8, -0.1), (-0.3, 0.9), (1.2, -1.5))
    elif sign == "cross":
        line((-1.3, -1.3), (1.3, 1.3))
        line((1.3, -1.3), (-1.3, 1.3))
    elif sign == "arrow":
        long, head = rng.uniform(1, 2.2), rng.uniform(0.4, 1)
        line((-long, 0), (long, 0))
        line((long - head, -head), (long, 0), (long - head, head))
    elif sign == "tally":
        for x in np.arange(4) - 1.5:
            line((x * 0.8, -1.5), (x * 0.8, 1.5))
        line((-1.9, 0.8), (1.9, -0.8))
    elif sign == "bullet":
        dot(0, 0, rng.uniform(0.1, 0.3))
    elif sign == "pips":
        side = 1.4
        line((-side, -side), (side, -side), (side, side), (-side, side), (-side, -side))
        places = [(x * 0.7, y * 0.7) for x in (-1, 0, 1) for y in (-1, 0, 1)]
        for number in rng.choice(9, int(rng.integers(1, 7)), replace=False):
            dot(*places[number], 0.17 * wide)
    if pen is None:
        return printed(strokes, height, max(1, rng.uniform(0.06, 0.2) * height)), rise
    return written(rng, strokes, height, pen, word=True), rise
