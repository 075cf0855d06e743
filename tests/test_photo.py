"""Image files of every kind come out as the picture that they show."""

import io

import numpy as np
import pytest
from PIL import Image

from handwriting.photo import image_files, load_photo
from support.errors import UserError


@pytest.fixture
def seven(test_digits):
    """The first test digit, a 7, dark on light, 140×140."""
    return Image.fromarray(255 - test_digits[0][0, 0].numpy()).resize((140, 140), Image.Resampling.BICUBIC)


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
        ("opaque.png", seven.convert("RGBA"), {}),
        ("ink-on-nothing.png", clear, {}),
        ("chalk-on-nothing.png", chalk, {}),
        ("turned.jpg", seven.transpose(Image.Transpose.ROTATE_90), {"exif": turned}),
        ("small.png", seven.resize((14, 14)), {}),
        ("tiny.png", seven.resize((8, 8), Image.Resampling.BOX), {}),
        ("large.png", seven.resize((6000, 6000)), {}),
    ]


def test_every_format_and_mode_shows_the_same_picture(seven, tmp_path):
    expected = np.asarray(seven, dtype=np.float32)
    for name, image, options in variants(seven):
        image.save(tmp_path / name, **options)
        picture = load_photo(tmp_path / name, name)
        assert picture.dtype == np.uint8
        assert max(picture.shape) <= 1600
        if name == "chalk-on-nothing.png":  # light ink gets dark paper
            picture = 255 - picture
        grey = Image.fromarray(picture).convert("L").resize(seven.size)
        difference = np.abs(np.asarray(grey, dtype=np.float32) - expected)
        assert np.median(difference) < 8, name
        assert np.corrcoef(np.ravel(grey), expected.ravel())[0, 1] > 0.75, name


def test_numbers_that_are_none_in_a_float_picture_do_no_harm(seven, tmp_path):
    values = np.asarray(seven, dtype=np.float32) / 255
    values[:5], values[5:9], values[9:12] = np.nan, np.inf, -np.inf
    Image.fromarray(values).save(tmp_path / "7.tif")
    picture = load_photo(tmp_path / "7.tif", "7.tif")
    assert np.abs(picture[20:, :, 0].astype(int) - np.asarray(seven)[20:]).max() <= 1


def test_a_picture_is_read_from_an_open_file_as_from_a_path(seven, tmp_path):
    seven.save(tmp_path / "7.png")
    upload = io.BytesIO((tmp_path / "7.png").read_bytes())
    assert np.array_equal(load_photo(upload, "upload"), load_photo(tmp_path / "7.png", "7.png"))


def test_what_is_no_readable_image_is_refused_in_a_line_that_names_it(seven, tmp_path):
    (tmp_path / "text.png").write_text("7")
    seven.save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:500])
    Image.new("1", (40_000, 40_000)).save(tmp_path / "bomb.png")
    seven.resize((7, 7)).save(tmp_path / "dot.png")
    for name in ("text.png", "cut.png", "bomb.png", "dot.png", "missing.png"):
        with pytest.raises(UserError, match=name) as refused:
            load_photo(tmp_path / name, name)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("format", ["EPS", "PCX", "TGA", "ICO", "PPM", "PDF"])
def test_other_formats_are_refused_whatever_their_name(seven, tmp_path, format):
    seven.save(tmp_path / "photo.jpg", format=format)
    with pytest.raises(UserError, match="not a picture of a known format"):
        load_photo(tmp_path / "photo.jpg", "photo.jpg")


def test_a_folder_gives_the_images_in_it_in_order(seven, tmp_path):
    for name in ("b.png", "a.jpg", "notes.txt"):
        seven.save(tmp_path / name, format="PNG")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert image_files([tmp_path, empty]) == [tmp_path / "a.jpg", tmp_path / "b.png", empty]
