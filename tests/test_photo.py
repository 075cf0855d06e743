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
    few_levels = 400 + np.asarray(seven).astype(np.uint16) * 2
    return [
        *((f"7.{suffix}", seven, {}) for suffix in ("png", "jpg", "bmp", "webp", "gif", "tif")),
        *([("7.avif", seven, {})] if "AVIF" in photo.FORMATS else []),
        ("7.pdf", seven, {}),
        (
            "colour.png",
            Image.merge("RGB", [Image.eval(seven, lambda v, k=k: 255 - (255 - v) // k) for k in (1, 2, 3)]),
            {},
        ),
        ("palette.png", seven.convert("P"), {}),
        ("two.png", seven.convert("1"), {}),
        ("cmyk.jpg", seven.convert("CMYK"), {}),
        ("sixteen.png", Image.fromarray(np.asarray(seven).astype(np.uint16) * 257), {}),
        ("few-levels.png", Image.fromarray(few_levels), {}),
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


def test_a_heic_picture_is_read_and_without_pi_heif_a_line_says_what_to_install(monkeypatch):
    heic = Path(__file__).parent / "inputs" / "two.heic"
    assert load_photo(io.BytesIO(heic.read_bytes()), "upload").shape == (320, 400, 3)
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(UserError, match=r"two.heic .*pip install pi_heif"):
        load_photo(heic, "two.heic")


def test_numbers_that_are_none_in_a_float_picture_do_no_harm(seven, tmp_path):
    values = np.asarray(seven, dtype=np.float32) / 255
    values[:5], values[5:9], values[9:12] = np.nan, np.inf, -np.inf
    Image.fromarray(values).save(tmp_path / "7.tif")
    picture = load_photo(tmp_path / "7.tif", "7.tif")
    assert np.abs(picture[20:, :, 0].astype(int) - np.asarray(seven)[20:]).max() <= 1


def test_a_picture_is_read_from_an_open_file_as_from_a_path(seven, tmp_path):
    for suffix in ("png", "jpg", "tif", "pdf"):
        seven.save(tmp_path / f"7.{suffix}")
        upload = io.BytesIO((tmp_path / f"7.{suffix}").read_bytes())
        assert np.array_equal(load_photo(upload, "upload"), load_photo(tmp_path / f"7.{suffix}", "7"))


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


def encrypted():
    """A PDF with a password, as far as a reader looks that does not have it."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]>>",
        b"<</Filter/Standard/V 1/R 2/P -4/O<%b>/U<%b>>>" % (b"00" * 32, b"11" * 32),
    ]
    file, starts = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        starts.append(len(file))
        file += b"%d 0 obj%bendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    trailer = b"trailer<</Size 5/Root 1 0 R/Encrypt 4 0 R/ID[<00><00>]>>\nstartxref\n%d\n%%%%EOF" % len(file)
    return file + b"xref\n0 5\n0000000000 65535 f \n" + table + trailer


def test_what_is_no_readable_image_is_refused_in_a_line_that_names_it(seven, tmp_path, capfd, recwarn):
    (tmp_path / "text.png").write_text("7")
    seven.save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:500])
    Image.new("1", (14_000, 14_000)).save(tmp_path / "bomb.png")
    Image.new("1", (8000, 8000)).save(tmp_path / "bomb.pdf", resolution=8000)
    seven.resize((7, 7)).save(tmp_path / "dot.png")
    (tmp_path / "encrypted.pdf").write_bytes(encrypted())
    (tmp_path / "cut.pdf").write_bytes(encrypted()[:100])
    for compression in ("group4", "tiff_lzw", "jpeg"):  # libtiff goes on after damage in the first, and says so
        seven.convert("1" if compression == "group4" else "L").save(tmp_path / "whole.tif", compression=compression)
        whole = (tmp_path / "whole.tif").read_bytes()
        middle = len(whole) // 3
        (tmp_path / f"{compression}.tif").write_bytes(whole[:middle] + b"\xff" * 60 + whole[middle + 60 :])
        (tmp_path / f"cut_{compression}.tif").write_bytes(whole[: len(whole) // 2])
    tags = [struct.pack("<HHI", 262, 3, count) for count in (1, 2**28)]  # what black is: Pillow warns, and guesses
    (tmp_path / "tag.tif").write_bytes(whole.replace(*tags))
    (tmp_path / "empty.jpg").touch()
    reasons = {"missing.png": "is not there", "encrypted.pdf": "is encrypted", "bomb.png": "50 megapixels"}
    reasons |= {"bomb.pdf": "50 megapixels", "dot.png": "8 × 8", "text.png": "not a picture of a known format"}
    names = {file.name for file in tmp_path.iterdir()} - {"whole.png", "whole.tif"}
    for name in names | reasons.keys():
        with pytest.raises(UserError, match=f"^{name} .*{reasons.get(name, '')}") as refused:
            load_photo(tmp_path / name, name)
        assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""
    assert not recwarn.list


def scans(seven, number):
    """A JPEG of the 7 whose last scan is repeated."""
    file = io.BytesIO()
    seven.save(file, "JPEG", progressive=True)
    start = file.getvalue().rindex(b"\xff\xda")
    once = file.getvalue().count(b"\xff\xda")
    return file.getvalue()[:start] + file.getvalue()[start:-2] * (number - once + 1) + b"\xff\xd9"


def chunks(seven, number):
    """A PNG of the 7 with so many chunks beside its data and its end."""
    file = io.BytesIO()
    seven.save(file, "PNG")
    chunk = struct.pack(">I", 1) + b"tEXtx" + struct.pack(">I", zlib.crc32(b"tEXtx"))
    return file.getvalue()[:33] + chunk * (number - 1) + file.getvalue()[33:]


@pytest.mark.parametrize("made", [scans, chunks])
def test_a_file_of_very_many_parts_is_refused_before_it_is_decoded(seven, tmp_path, made):
    (tmp_path / "most").write_bytes(made(seven, 100))
    (tmp_path / "more").write_bytes(made(seven, 101))
    assert load_photo(tmp_path / "most", "most").shape == (140, 140, 3)
    for source in (tmp_path / "more", io.BytesIO(made(seven, 101))):
        with pytest.raises(UserError, match="more than 100 parts"):
            load_photo(source, "more")


@pytest.mark.parametrize("format", ["EPS", "PCX", "TGA", "ICO", "PPM"])
def test_other_formats_are_refused_whatever_their_name(seven, tmp_path, format):
    seven.save(tmp_path / "photo.jpg", format=format)
    with pytest.raises(UserError, match="not a picture of a known format"):
        load_photo(tmp_path / "photo.jpg", "photo.jpg")
