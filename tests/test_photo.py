"""Image files of every kind come out as the pictures that they show."""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handwriting import photo
from handwriting.photo import load_photo, pages
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
        *([("7.avif", seven, {})] if "AVIF" in photo.FORMATS else []),
        ("7.pdf", seven, {}),
        ("cmyk.jpg", seven.convert("CMYK"), {}),
        ("sixteen.png", Image.fromarray(np.asarray(seven).astype(np.uint16) * 257), {}),
        ("float.tif", Image.fromarray(np.asarray(seven).astype(np.float32) / 255), {}),
        ("ink-on-nothing.png", clear, {}),
        ("chalk-on-nothing.png", chalk, {}),
        ("turned.jpg", seven.transpose(Image.Transpose.ROTATE_90), {"exif": turned}),
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


def test_a_heic_picture_is_read_and_without_pi_heif_a_line_says_what_to_install(monkeypatch):
    heic = Path(__file__).parent / "inputs" / "two.heic"
    assert load_photo(io.BytesIO(heic.read_bytes()), "upload").shape == (320, 400, 3)
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(UserError, match=r"two.heic .*pip install pi_heif"):
        load_photo(heic, "two.heic")


@pytest.mark.parametrize("suffix", ["tif", "pdf"])
def test_every_page_of_a_scan_is_given_with_its_number(seven, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"scan.{suffix}"
    others = [seven.transpose(Image.Transpose.FLIP_TOP_BOTTOM), seven.resize((7, 7))]
    seven.save(path, save_all=True, append_images=others)
    (one, first, _), (two, second, _), (three, small, count) = pages(path, "scan")
    assert (one, two, three, count) == ("scan:1", "scan:2", "scan:3", 3)
    assert np.median(np.abs(first.picture.astype(int) - second.picture[::-1])) <= 2
    assert first.picture.std() > 20
    if suffix == "tif":
        assert "scan:3 has 7 × 7 pixels" in str(small)
    monkeypatch.setattr(photo, "MAX_PAGES", 2)
    [(_, refused, _)] = pages(path, "scan")
    assert str(refused) == "scan has more than 2 pages: split it"


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_read_that_is_not_blank(seven, tmp_path, suffix):
    path = tmp_path / f"animation.{suffix}"
    blank = Image.new("L", seven.size, 255)
    blank.save(path, save_all=True, append_images=[seven, blank], duration=100)
    [(_, page, _)] = pages(path, "animation")
    assert page.frame == 2
    assert np.median(np.abs(page.picture[..., 0].astype(int) - np.asarray(seven))) < 8


def test_a_box_is_told_in_the_pixels_that_a_viewer_shows(seven, tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # turn right by 90° to show
    seven.resize((3200, 2400)).save(tmp_path / "7.jpg", exif=turned)
    [(_, page, _)] = pages(tmp_path / "7.jpg", "7")
    assert page.picture.shape == (1600, 1200, 3)
    assert page.size == (2400, 3200)
    assert page.given((-5, 100, 800, 1200)) == (0, 200, 1600, 2400)


def test_what_is_no_readable_image_is_refused_in_a_line_that_names_it(seven, tmp_path, capfd, recwarn):
    (tmp_path / "text.png").write_text("7")
    seven.save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:500])
    Image.new("1", (14_000, 14_000)).save(tmp_path / "bomb.png")
    Image.new("1", (8000, 8000)).save(tmp_path / "bomb.pdf", resolution=8000)
    seven.resize((7, 7)).save(tmp_path / "dot.png")
    seven.save(tmp_path / "whole.pdf")
    (tmp_path / "cut.pdf").write_bytes((tmp_path / "whole.pdf").read_bytes()[:500])
    for compression in ("group4", "tiff_lzw", "jpeg"):  # libtiff goes on after damage in the first, and says so
        seven.convert("1" if compression == "group4" else "L").save(tmp_path / "whole.tif", compression=compression)
        whole = (tmp_path / "whole.tif").read_bytes()
        middle = len(whole) // 3
        (tmp_path / f"{compression}.tif").write_bytes(whole[:middle] + b"\xff" * 60 + whole[middle + 60 :])
        (tmp_path / f"cut_{compression}.tif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").touch()
    reasons = {"missing.png": "is not there", "bomb.png": "50 megapixels"}
    reasons |= {"bomb.pdf": "50 megapixels", "dot.png": "8 × 8", "text.png": "not a picture of a known format"}
    names = {file.name for file in tmp_path.iterdir()} - {"whole.png", "whole.tif", "whole.pdf"}
    for name in names | reasons.keys():
        with pytest.raises(UserError, match=f"^{name} .*{reasons.get(name, '')}") as refused:
            load_photo(tmp_path / name, name)
        assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""
    assert not recwarn.list


def chunks(seven, number):
    """A PNG of the 7 with so many chunks beside its data and its end."""
    file = io.BytesIO()
    seven.save(file, "PNG")
    chunk = struct.pack(">I", 1) + b"tEXtx" + struct.pack(">I", zlib.crc32(b"tEXtx"))
    return file.getvalue()[:33] + chunk * (number - 1) + file.getvalue()[33:]


def test_a_file_of_very_many_parts_is_refused_before_it_is_decoded(seven):
    assert load_photo(io.BytesIO(chunks(seven, 100)), "most").shape == (140, 140, 3)
    with pytest.raises(UserError, match="more than 100 parts"):
        load_photo(io.BytesIO(chunks(seven, 101)), "more")


def test_other_formats_are_refused_whatever_their_name(seven, tmp_path):
    seven.save(tmp_path / "photo.jpg", format="EPS")  # a program, which an interpreter would run
    with pytest.raises(UserError, match="not a picture of a known format"):
        load_photo(tmp_path / "photo.jpg", "photo.jpg")
