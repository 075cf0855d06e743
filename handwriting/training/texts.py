"""What stands on pages beside digits: printed and handwritten words, letters that people drew, signs."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from handwriting.training.pens import trimmed, written
from support.errors import UserError

HERE = Path(__file__).parent
FONTS, DRAWN = HERE / "node_modules" / "@fontsource", HERE / "omniglot"
DIGIT = 20  # pixels: height of MNIST's digits, beside which signs are drawn before a pen writes them
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
CAPITALS = "ABCDEFGHKLMNPRTUVWXY"  # that stand alone: without those that are written like a digit
SMALL = "acdefhkmnprtuvwxy"
FONT_SIGNS = "%$€#*&?!<>@"
OPERATORS = "+-×÷:/"
DRAWN_SIGNS = tuple("+-×÷=()[]/,.:{}") + ("tick", "cross", "arrow", "tally", "bullet", "pips")


@dataclass
class Letters:
    """Whose letters stand on pages: the files of fonts, and of images that people drew, 105×105, black on white."""

    printed: list  # of paths
    hand: list  # of paths
    drawn: list  # of lists of paths, one for each person and alphabet


def training_letters():
    """The Letters that the finder learns from. Raises UserError where the fonts or the drawn letters are missing."""
    printed, hand = [], []
    for folder in sorted(FONTS.iterdir()) if FONTS.is_dir() else ():
        is_handwriting = json.loads((folder / "metadata.json").read_text())["category"] == "handwriting"
        (hand if is_handwriting else printed).append(folder / "files" / f"{folder.name}-latin-400-normal.woff")
    if not printed or not hand:
        raise UserError(f"the fonts for the finder's training are missing: run npm install in {HERE}")
    people = {}
    for path in sorted(DRAWN.glob("**/character*/*.png")):
        people.setdefault((path.parent.parent, path.stem[-2:]), []).append(path)
    if not people:
        raise UserError(f"the drawn letters are missing: unpack Omniglot's images_background.zip in {DRAWN}")
    latin = [paths for (alphabet, _), paths in people.items() if alphabet.name == "Latin"]
    return Letters(printed, hand, latin * 2 + list(people.values()))


def a_word(rng, digits=False):
    """A word, a made-up word, a letter or a few signs. digits: whether numbers may come up."""
    chance = rng.random()
    if digits and chance < 0.25:
        return str(rng.integers(0, 10 ** int(rng.integers(1, 6)))) + str(rng.choice(["", "", "", ".", ")", ":", "%"]))
    if chance < 0.6:
        word = str(rng.choice(WORDS))
    else:
        consonants = rng.random() < 0.6
        word = ""
        for _ in range(int(rng.integers(2, 10))):
            word += str(rng.choice(list(CONSONANTS if consonants else VOWELS)))
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


@functools.lru_cache(600)
def _font(path, size):
    return ImageFont.truetype(path, size)


@functools.lru_cache(200)
def _capital_share(path):
    _, top, _, bottom = _font(path, 100).getbbox("H")
    return max(20, bottom - top) / 100


def typeset(path, text, height):
    """Text in a font with capitals `height` high: its ink, float32 [h, w] in [0, 1], and how far it goes below the
    baseline, in pixels. None where the font has no ink for it.
    """
    font = _font(path, max(5, round(height / _capital_share(path))))
    left, top, right, bottom = font.getbbox(text, anchor="ls")
    if right - left < 1 or bottom - top < 1:
        return None
    image = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(image).text((1 - left, 1 - top), text, 255, font, anchor="ls")
    return np.asarray(image, np.float32) / 255, bottom + 1


def handwritten(rng, letters, text, height, width):
    """A word by hand with capitals about `height` high and a pen `width` pixels wide: as typeset gives it."""
    if letters.drawn and rng.random() < 0.3:
        return _drawn_word(rng, letters, len(text), height, width)
    return penned(rng, letters.hand[rng.integers(len(letters.hand))], text, height, width)


def penned(rng, path, text, height, width):
    """Text in a handwritten font, by a pen `width` pixels wide: as typeset gives it."""
    if rng.random() < 0.5:  # as the font has it, or bolder
        set_ = typeset(path, text, height)
        if set_ is None:
            return None
        ink, below = set_
        grown = round(min(width, 0.15 * height) - 0.06 * height)
        if grown > 0:
            ink = cv2.dilate(np.pad(ink, grown), np.ones((grown + 1, grown + 1)))
            below += grown
        return ink, below
    set_ = typeset(path, text, FORM)
    if set_ is None:
        return None
    ink, below = np.minimum(1, 2 * set_[0]), set_[1]  # hairlines stay whole
    if ink.max() < 0.7:
        return None
    high = len(ink) * height / FORM
    return written(rng, np.uint8(255 * ink), max(4, high), ("line", width), word=True), below * height / FORM


def _drawn_word(rng, letters, length, height, width):
    """Letters that one person drew, one beside the other."""
    person = letters.drawn[rng.integers(len(letters.drawn))]
    glyphs, x, height = [], 0, height * rng.uniform(0.6, 1)
    for _ in range(max(2, min(length, 6))):
        image = 255 - cv2.imread(str(person[rng.integers(len(person))]), cv2.IMREAD_GRAYSCALE)
        image = trimmed(image)
        few = 28 / max(image.shape)
        image = cv2.resize(cv2.dilate(image, np.ones((3, 3))), None, fx=few, fy=few, interpolation=cv2.INTER_AREA)
        own = height * rng.uniform(0.8, 1.2) * (image.shape[0] / 28) ** 0.5
        if not (image > 160).any():
            continue
        glyph = written(rng, image, max(4, own), ("line", width))
        glyphs.append((round(x), glyph))
        x += glyph.shape[1] + rng.uniform(-0.1, 0.3) * height
    if not glyphs:
        return None
    high = max(len(glyph) for _, glyph in glyphs)
    word = np.zeros((high, max(at + glyph.shape[1] for at, glyph in glyphs if at >= 0) + 1), np.float32)
    for at, glyph in glyphs:
        at, top = max(0, at), (high - len(glyph)) // (1 if rng.random() < 0.8 else 2)
        part = word[top : top + len(glyph), at : at + glyph.shape[1]]
        np.maximum(part, glyph[:, : part.shape[1]], out=part)
    return word, 0


def drawn_sign(rng, sign, height, pen):
    """A sign beside digits `height` high: its ink, float32 [h, w], and how far its middle is above theirs.

    pen: as pens.any_pen gives it, and the sign is written as digits are; None: it is printed.
    """
    high = height if pen is None else DIGIT
    width = max(1, rng.uniform(0.06, 0.2) * high)
    wide = 0.33 * high * np.exp(rng.normal(0, 0.3))
    strokes, dots, rise = [], [], 0

    def line(*points):
        strokes.append(np.array(points, float) * (wide, wide) + rng.normal(0, 0.06 * wide, (len(points), 2)))

    def arc(side, high):
        angles = np.linspace(-1, 1, 9)
        line(*[(side * 0.9 * np.cos(1.3 * a), high * np.sin(1.3 * a)) for a in angles])

    radius = max(width * rng.uniform(0.5, 1.1), 0.8)
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
        dots += [(0, -0.7 * wide), (0, 0.7 * wide)]
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
        dots, rise = [(0, 0)], -0.45 * height
    elif sign == ":":
        dots = [(0, -0.6 * wide), (0, 0.6 * wide)]
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
        radius, dots = high * rng.uniform(0.1, 0.3), [(0, 0)]
    elif sign == "pips":
        side = 1.4
        line((-side, -side), (side, -side), (side, side), (-side, side), (-side, -side))
        places = [(x * wide * 0.7, y * wide * 0.7) for x in (-1, 0, 1) for y in (-1, 0, 1)]
        dots, radius = [places[n] for n in rng.choice(9, int(rng.integers(1, 7)), replace=False)], 0.17 * wide
    ink = _drawn(strokes, width, dots, radius)
    if pen is None:
        return ink / np.float32(255), rise
    return written(rng, ink, max(1.5, len(ink) * height / DIGIT), pen, word=True), rise


def bare_one(rng, height, pen):
    """A 1 of one straight or slightly bent stroke, tilted by up to about 15 degrees: its ink, cut to it."""
    tilt = np.deg2rad(np.clip(rng.normal(0, 5), -12, 12))
    along = np.linspace(-0.5, 0.5, 7)
    bend = rng.normal(0, 0.03) * np.cos(np.pi * along)
    if rng.random() < 0.15:  # a short upstroke
        along, bend = np.append(-0.5 + rng.uniform(0.08, 0.2), along), np.append(-rng.uniform(0.05, 0.12), bend)
    points = DIGIT * np.stack([bend - np.tan(tilt) * along, along], 1)
    return written(rng, _drawn([points], rng.uniform(1.5, 3)), height, pen, word=True)


def continental(rng, label, height, pen):
    """A 1 with a long upstroke, or a crossed 7: its ink, cut to it. MNIST, written in the USA, has few of them."""
    along, bend = np.linspace(-0.5, 0.5, 7), rng.normal(0, 0.04)
    lean = rng.normal(0.1, 0.12) + (rng.uniform(0.1, 0.4) if label == 7 else 0)
    stem = np.stack([bend * np.cos(np.pi * along) - lean * along, along], 1)
    if label == 1:
        across = rng.uniform(0.15, 0.55)
        start = stem[0] + (-across, across * rng.uniform(0.7, 1.6))
        strokes = [np.concatenate([[start, (start + stem[0]) / 2 + rng.normal(0, 0.03, 2)], stem])]
        if rng.random() < 0.1:  # a foot
            strokes.append(stem[-1] + np.array([[-rng.uniform(0.1, 0.3), 0], [rng.uniform(0.1, 0.3), 0]]))
    else:
        start = stem[0] + (-rng.uniform(0.35, 0.65), rng.normal(0, 0.06))
        serif = [start + (rng.normal(0, 0.03), rng.uniform(0.05, 0.2))] if rng.random() < 0.3 else []
        middle = stem[rng.integers(2, 5)] + rng.normal(0, 0.03, 2)
        bar = np.array([rng.uniform(0.12, 0.3), rng.normal(-0.03, 0.04)])
        strokes = [np.array([*serif, start, *stem]), np.stack([middle - bar, middle + bar * rng.uniform(0.6, 1.2)])]
    return written(rng, _drawn([DIGIT * stroke for stroke in strokes], rng.uniform(1.5, 3)), height, pen, word=True)


def _drawn(strokes, width, dots=(), radius=0):
    """Strokes, lists of points, and dots in one image, uint8, cut to them."""
    points = np.concatenate([*strokes, np.array(dots).reshape(-1, 2)])
    edge = max(width, radius) + 2
    low, high = points.min(0) - edge, points.max(0) + edge
    ink = np.zeros((np.int32(np.ceil(high - low)) + 1)[::-1], np.uint8)
    for stroke in strokes:
        cv2.polylines(ink, [np.int32((stroke - low) * 8)], False, 255, max(1, round(width)), cv2.LINE_AA, 3)
    for dot in dots:
        cv2.circle(ink, tuple(int(at) for at in (np.array(dot) - low) * 8), int(radius * 8), 255, -1, cv2.LINE_AA, 3)
    return trimmed(ink)
