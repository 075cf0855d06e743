"""Images of digits, made from MNIST's test digits as people make them, are read as the digits they are."""

import io

import numpy as np
import pytest
import torch
from conftest import SMALL
from PIL import Image
from scipy import ndimage

import test
import train
from handwriting.digits import find_digits
from handwriting.photo import image_files, load_photo
from Model import load_parameters, myCNN, save_parameters
from support.errors import UserError
from support.runs import best_epoch


@pytest.fixture(scope="session")
def reader(tmp_path_factory):
    """A middling network that train.py trains in some 45 seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "CHECKPOINTS_DIR", tmp_path_factory.mktemp("checkpoints"))
        patch.setattr(train, "DIM_HIDDEN", [16, 32, 64, 128, 64])
        patch.setattr(train, "EPOCHS", 5)
        patch.setattr(train, "LR_SCHEDULE", "cosine")
        patch.setattr(train, "LEARNING_RATE", 0.003)
        train.main()
        return load_parameters(train.CHECKPOINTS_DIR / "run-001" / "epoch_04.npy")


@pytest.fixture
def digits(test_digits):
    """500 test digits as [500, 28, 28] and their labels, NumPy arrays."""
    return test_digits[0][:500, 0].numpy(), test_digits[1][:500].numpy()


def enlarged(digit, side):
    return np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC))


def on_gradient(digit, chance):
    """Dark ink on paper that is lighter on one side."""
    ink = enlarged(digit, 140) / 255
    rows, columns = np.mgrid[:140, :140] / 140 - 0.5
    angle = chance.uniform(0, 2 * np.pi)
    paper = 0.7 + 0.35 * (np.cos(angle) * rows + np.sin(angle) * columns)
    return np.uint8(255 * np.clip(paper * (1 - 0.8 * ink), 0, 1))


def shifted(digit, chance):
    canvas = np.zeros((84, 84), np.uint8)
    row, column = chance.integers(0, 57, 2)
    canvas[row : row + 28, column : column + 28] = digit
    return canvas


def noisy(image, chance, sigma):
    return np.uint8(np.clip(image * 0.85 + 20 + chance.normal(0, sigma, image.shape), 0, 255))


def as_jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def photographed(digit, chance):
    """Small on a large sheet of grey paper, unevenly lit, noisy, re-encoded."""
    sheet = np.pad(on_gradient(digit, chance), ((40, 90), (20, 60)), mode="edge")
    return as_jpeg(noisy(sheet, chance, 6), 70)


ONE_WAY = {
    "enlarged": lambda digit, chance: enlarged(digit, int(chance.integers(56, 300))),
    "inverted": lambda digit, chance: 255 - digit,
    "shifted": shifted,
    "on a gradient": on_gradient,
    "noisy": lambda digit, chance: noisy(enlarged(digit, 140), chance, 12),
    "a JPEG": lambda digit, chance: as_jpeg(enlarged(digit, 112), 60),
}


def share_read_right(reader, images, labels):
    """The share of images that show one digit, and the right one."""
    forms = []
    for image in images:
        lines = find_digits(image / np.float32(255))
        is_one = len(lines) == 1 and len(lines[0]) == 1
        forms.append(lines[0][0][1] if is_one else np.zeros((28, 28), np.uint8))
    forms = np.stack(forms)
    answers = test.predict(reader, torch.from_numpy(forms).unsqueeze(1)).argmax(1).numpy()
    return ((answers == labels) & forms.any((1, 2))).mean()


def test_a_digit_in_mnists_form_stays_as_it_is(digits):
    for digit in digits[0]:
        [[(_, form)]] = find_digits(digit / np.float32(255))
        assert np.array_equal(form, digit)


@pytest.mark.parametrize("way", ONE_WAY)
def test_99_percent_of_digits_changed_in_one_way_are_read_right(reader, digits, way):
    chance = np.random.default_rng(1)
    images = [ONE_WAY[way](digit, chance) for digit in digits[0]]
    assert share_read_right(reader, images, digits[1]) >= 0.99


def test_98_and_a_half_percent_of_digits_changed_in_all_ways_are_read_right(reader, digits):
    chance = np.random.default_rng(2)
    images = [photographed(digit, chance) for digit in digits[0]]
    assert share_read_right(reader, images, digits[1]) >= 0.985


def test_a_digit_is_scaled_to_20_pixels_and_centred_by_its_mass(digits):
    for digit in digits[0][:100]:
        [[(_, form)]] = find_digits(1 - enlarged(digit, 200) / np.float32(255))
        rows, columns = (np.flatnonzero(form.max(axis) > 60) for axis in (1, 0))
        assert 18 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
        assert np.abs(np.array(ndimage.center_of_mass(form)) - 14).max() <= 1


def page(digits, chance, rules=False, dirt=0, edge=False, shadow=False, pen=False):
    """A sheet with three lines of digits: uint8 [900, 1200], and the labels line by line."""
    ink, labels = np.zeros((900, 1200), np.float32), []
    for line, count in enumerate((5, 4, 6)):
        left = 110 + chance.integers(40)
        labels.append([])
        for _ in range(count):
            whole = False
            while not whole:
                number, side = chance.integers(500), chance.integers(94, 126)
                digit = enlarged(digits[0][number], side) / np.float32(255)
                if pen:  # drawn thinly, along the middle of the stroke
                    digit = np.float32(ndimage.distance_transform_edt(digit > 0.2) > 1.5)
                whole = ndimage.label(digit > 0.2, np.ones((3, 3)))[1] == 1
            digit = ndimage.gaussian_filter(digit, 1)
            top = 90 + 160 * line + chance.integers(-8, 8)
            spot = ink[top : top + side, left : left + side]
            np.maximum(spot, digit, out=spot)
            labels[-1].append(int(digits[1][number]))
            left += int(side * chance.uniform(0.85, 1.15))
    rows, columns = np.mgrid[:900, :1200]
    paper = 0.85 * (1 - 0.3 * (columns / 1200) * (rows / 900))
    if rules:
        for row in range(60, 900, 80):
            paper[row : row + 2] *= 0.72
    if shadow:
        paper *= 1 - 0.45 * ndimage.gaussian_filter((columns + 0.5 * rows > 960).astype(np.float32), 25)
    grey = paper * (1 - 0.8 * ink)
    for row, column, radius in zip(*(chance.integers(5, high, dirt) for high in (895, 1195, 8)), strict=True):
        grey[(rows - row) ** 2 + (columns - column) ** 2 < radius] *= 0.4
    if edge:
        grey[:25] = grey[:, :30] = grey[-20:] = 0.15  # the table
    return np.uint8(255 * np.clip(grey + chance.normal(0, 0.02, grey.shape), 0, 1)), labels


@pytest.mark.parametrize(
    "of",
    [
        {},
        {"pen": True},
        {"rules": True},
        {"dirt": 60},
        {"edge": True},
        {"shadow": True},
        {"rules": True, "dirt": 40, "edge": True, "shadow": True},
    ],
    ids=lambda of: ", ".join(of) or "plain",
)
def test_a_page_is_read_line_by_line_from_left_to_right(reader, digits, of):
    chance = np.random.default_rng(3)
    right = total = 0
    for _ in range(3):
        sheet, labels = page(digits, chance, **of)
        lines = find_digits(sheet / np.float32(255))
        assert [len(line) for line in lines] == [5, 4, 6]
        for line, truth in zip(lines, labels, strict=True):
            answers = (
                test.predict(reader, torch.from_numpy(np.stack([form for _, form in line])).unsqueeze(1))
                .argmax(1)
                .tolist()
            )
            right += sum(answer == label for answer, label in zip(answers, truth, strict=True))
            total += len(truth)
    assert right >= 0.93 * total


def test_paper_without_ink_has_no_digits(digits):
    chance = np.random.default_rng(4)
    rows, columns = np.mgrid[:300, :400] / 400
    for paper in (np.ones((300, 400)), np.zeros((28, 28)), 0.5 + 0.4 * rows, 0.9 - 0.3 * rows * columns):
        assert find_digits(paper.astype(np.float32)) == []
        noisy_paper = np.clip(paper + chance.normal(0, 0.02, paper.shape), 0, 1)
        assert find_digits(noisy_paper.astype(np.float32)) == []


@pytest.fixture
def seven(digits):
    """The first test digit, a 7, dark on light, 140×140."""
    return Image.fromarray(255 - enlarged(digits[0][0], 140))


def variants(seven):
    """The 7 in every format and mode: (file name, image, options of save)."""
    turned = Image.Exif()
    turned[0x0112] = 6  # turn right by 90° to show
    clear = Image.new("RGBA", seven.size, (0, 0, 0, 0))
    clear.putalpha(Image.eval(seven, lambda value: 255 - value))
    chalk = clear.copy()
    chalk.paste((255, 255, 255), (0, 0, *seven.size))
    chalk.putalpha(clear.getchannel("A"))
    return [
        *((f"7.{suffix}", seven, {}) for suffix in ("png", "jpg", "bmp", "webp", "gif", "tif")),
        (
            "colour.png",
            Image.merge("RGB", [Image.eval(seven, lambda v, k=k: 255 - (255 - v) // k) for k in (1, 2, 3)]),
            {},
        ),
        ("palette.png", seven.convert("P"), {}),
        ("two.png", seven.convert("1"), {}),
        ("cmyk.jpg", seven.convert("CMYK"), {}),
        ("sixteen.png", Image.fromarray(np.asarray(seven).astype(np.uint16) * 257), {}),
        ("float.tif", Image.fromarray(np.asarray(seven).astype(np.float32) / 255), {}),
        ("ink-on-nothing.png", clear, {}),
        ("chalk-on-nothing.png", chalk, {}),
        ("turned.jpg", seven.transpose(Image.Transpose.ROTATE_90), {"exif": turned}),
        ("small.png", seven.resize((14, 14)), {}),
        ("tiny.png", seven.resize((8, 8), Image.Resampling.BOX), {}),
        ("large.png", seven.resize((6000, 6000)), {}),
    ]


def test_every_format_and_mode_is_read_alike(reader, seven, tmp_path):
    for name, image, options in variants(seven):
        image.save(tmp_path / name, **options)
        [[(_, form)]] = find_digits(load_photo(tmp_path / name, name).mean(2, dtype=np.float32) / 255)
        answer = test.predict(reader, torch.from_numpy(form)[None, None]).argmax().item()
        assert answer == 7, name


def test_what_is_no_readable_image_is_refused_in_a_line_that_names_it(seven, tmp_path):
    (tmp_path / "text.png").write_text("7")
    seven.save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:500])
    Image.new("1", (40_000, 40_000)).save(tmp_path / "bomb.png")
    seven.resize((7, 7)).save(tmp_path / "dot.png")
    for name in ("text.png", "cut.png", "bomb.png", "dot.png"):
        with pytest.raises(UserError, match=name) as refused:
            load_photo(tmp_path / name, name)
        assert "\n" not in str(refused.value)


def test_a_folder_gives_the_images_in_it_in_order(seven, tmp_path):
    for name in ("b.png", "a.jpg", "notes.txt"):
        seven.save(tmp_path / name, format="PNG")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert image_files([tmp_path, empty]) == [tmp_path / "a.jpg", tmp_path / "b.png", empty]


@pytest.fixture
def run_with(monkeypatch, tmp_path, reader):
    """A newest run that holds the reader as epoch 0 and an untrained network as epoch 1; returns its folder."""
    monkeypatch.setattr(test, "CHECKPOINTS_DIR", tmp_path / "checkpoints")
    folder = tmp_path / "checkpoints" / "run-001"
    folder.mkdir(parents=True)
    save_parameters(reader, folder / "epoch_00.npy")
    save_parameters(myCNN(SMALL), folder / "epoch_01.npy")
    (folder / "accuracy.csv").write_text("epoch,correct,total,accuracy\n0,9900,10000,99.0\n1,1000,10000,10.0\n")
    return folder


def test_images_are_read_by_the_best_epoch_a_line_each_and_the_others_too_when_one_fails(
    run_with, digits, seven, tmp_path, capsys
):
    photos = tmp_path / "photos"
    photos.mkdir()
    seven.save(photos / "seven.png")
    Image.fromarray(page(digits, np.random.default_rng(3))[0]).save(photos / "page.jpg")
    Image.new("L", (100, 100), 255).save(photos / "empty.png")
    (tmp_path / "text.png").write_text("7")
    assert test.main([str(tmp_path / "text.png"), str(photos)]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("reading with epoch 0 of ")
    lines = out.splitlines()[1:-1]
    assert len(lines) == 4
    assert lines[0].split(": ")[1].count("%") == 10
    assert lines[3].startswith(f"{photos / 'seven.png'}: 7   7 ")
    assert " (or " in lines[3]
    assert [line.split(" ")[1] for line in err.splitlines()] == [str(tmp_path / "text.png"), str(photos / "empty.png")]
    with Image.open(run_with / "own_digits.png") as picture:
        assert picture.width == 1300


def test_the_first_best_epoch_reads_or_the_last_where_not_all_were_tested(run_with):
    table = run_with / "accuracy.csv"
    assert best_epoch(run_with)[0] == 0
    table.write_text("epoch,correct,total,accuracy\n0,9900,10000,99.0\n1,9900,10000,99.0\n2,9999,10000,99.99\n")
    assert best_epoch(run_with)[0] == 0  # there is no file of epoch 2
    table.write_text("epoch,correct,total,accuracy\n0,9900,10000,99.0\n")
    assert best_epoch(run_with)[0] == 1  # trained further since it was tested
    table.unlink()
    assert best_epoch(run_with)[0] == 1


def test_images_without_a_run_are_refused(monkeypatch, seven, tmp_path):
    monkeypatch.setattr(test, "CHECKPOINTS_DIR", tmp_path / "nowhere")
    seven.save(tmp_path / "7.png")
    with pytest.raises(UserError, match="no run in"):
        test.main([str(tmp_path / "7.png")])
