"""Image files of every format give the pictures that they show."""

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

INPUTS = Path(__file__).parent / "inputs"


@pytest.fixture
def seven(test_digits):
    """The first test digit, a 7, dark on light, 140×140."""
    return Image.fromarray(255 - test_digits[0][0, 0].numpy()).resize((140, 140), Image.Resampling.BICUBIC)


def test_every_format_and_mode_shows_the_same_picture(seven, tmp_path):
    clear, chalk, blank = (Image.new("RGBA", seven.size, colour) for colour in ("black", "white", "white"))
    for ink in (clear, chalk):
        ink.putalpha(Image.eval(seven, lambda value: 255 - value))
    values = np.asarray(seven)
    files = {f"7.{suffix}": seven for suffix in ("png", "jpg", "bmp", "webp", "gif", "tif", "pdf")}
    files |= {"7.avif": seven} if "AVIF" in photo.FORMATS else {}
    files |= dict.fromkeys(("frames.gif", "frames.webp", "frames.png"), blank.convert("L"))  # the second one is the 7
    files |= {"cmyk.jpg": seven.convert("CMYK"), "large.png": seven.resize((7050, 7050))}
    files |= {"sixteen.png": Image.fromarray(values * np.uint16(257)), "float.tif": Image.fromarray(values / 255)}
    files |= {"few levels.tif": Image.fromarray(400 + values * np.uint16(2))}
    files |= {"ink.png": clear, "chalk.png": chalk, "tiny.png": seven.resize((8, 8), Image.Resampling.BOX)}
    for name, image in files.items():
        frames = {"save_all": True, "append_images": [seven, blank.convert("L")], "duration": 100}
        image.save(tmp_path / name, **frames if name.startswith("frames") else {})
        [(_, page, _)] = pages(tmp_path / name, name)
        assert page.frame == (2 if name.startswith("frames") else 0)
        assert max(page.picture.shape) <= 1600
        picture = 255 - page.picture if name == "chalk.png" else page.picture  # light ink gets dark paper
        grey = np.asarray(Image.fromarray(picture).convert("L").resize(seven.size), np.float32)
        assert np.median(np.abs(grey - values)) < 8, name
        assert np.corrcoef(grey.ravel(), values.ravel())[0, 1] > 0.75, name


def test_a_heic_picture_is_read_and_without_pi_heif_a_line_says_what_to_install(monkeypatch):
    heic = INPUTS / "two.heic"
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
    if suffix == "tif":
        assert "scan:3 has 7 × 7 pixels" in str(small)
    monkeypatch.setattr(photo, "MAX_PAGES", 2)
    [(_, refused, _)] = pages(path, "scan")
    assert str(refused) == "scan has more than 2 pages: split it"


def test_a_box_is_given_in_the_pixels_that_a_viewer_shows(seven, tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # turn right by 90° to show
    seven.resize((3200, 2400)).save(tmp_path / "7.jpg", exif=turned)
    [(_, page, _)] = pages(tmp_path / "7.jpg", "7")
    shown = np.rot90(np.asarray(seven.resize((1600, 1200))), -1)
    assert np.abs(page.picture[..., 0] - shown.astype(int)).mean() < 5
    assert page.given((100, -5, 1200, 800)) == (200, 0, 2400, 1600)


def test_an_unreadable_image_is_refused_in_one_line_that_names_it(seven, tmp_path, capfd, recwarn):
    compressed = {f"cut_{kind}.tif": {"compression": kind} for kind in ("group4", "tiff_lzw", "jpeg")}
    for name, options in ({"cut.png": {}, "cut.pdf": {}, "cut.jpg": {}} | compressed).items():
        seven.convert("1" if "group4" in name else "L").save(tmp_path / name, **options)
        whole = (tmp_path / name).read_bytes()
        middle = len(whole) // 3
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        if options:  # damaged in the middle: libtiff prints an error and continues
            (tmp_path / name[4:]).write_bytes(whole[:middle] + b"\xff" * 60 + whole[middle + 60 :])
    (tmp_path / "text.png").write_text("7")
    (tmp_path / "empty.jpg").touch()
    seven.save(tmp_path / "program.jpg", format="EPS")  # which an interpreter would run
    seven.resize((7, 7)).save(tmp_path / "dot.png")
    Image.new("1", (14_000, 14_000)).save(tmp_path / "bomb.png")
    Image.new("1", (7100, 7100)).save(tmp_path / "large.png")
    reasons = {"missing.png": "not an existing file", "bomb.png": "50 megapixels", "large.png": "50 megapixels"}
    reasons |= dict.fromkeys(("text.png", "program.jpg"), "not a picture in a known format") | {"dot.png": "8 × 8"}
    for name in {file.name for file in tmp_path.iterdir()} | reasons.keys():
        with pytest.raises(UserError, match=f"^{name} .*{reasons.get(name, '')}") as refused:
            load_photo(tmp_path / name, name)
        assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""
    assert not recwarn.list


@pytest.mark.parametrize(
    ("name", "limit", "most"), [("tiny_tiles", "PDF_SECONDS", 1), ("nested_forms", "PDF_BYTES", 300_000_000)]
)
def test_a_pdf_that_needs_too_much_time_or_memory_is_refused_in_one_line(monkeypatch, name, limit, most):
    monkeypatch.setattr(photo, limit, most)
    with pytest.raises(UserError, match=f"^{name} can't be rendered within .* save it as PNG or JPEG$"):
        load_photo(INPUTS / f"{name}.pdf", name)


@pytest.mark.parametrize(("kind", "own"), [("PNG", 1), ("JPEG", 6)])  # parts of the 7's file as Pillow writes it
def test_a_file_with_over_a_hundred_scans_or_chunks_is_refused_before_it_is_decoded(seven, kind, own):
    file = io.BytesIO()
    seven.save(file, kind, progressive=True)
    whole, chunk = file.getvalue(), struct.pack(">I", 1) + b"tEXtx" + struct.pack(">I", zlib.crc32(b"tEXtx"))
    at, part = (33, chunk) if kind == "PNG" else (len(whole) - 2, whole[whole.rindex(b"\xff\xda") : -2])
    most, more = (io.BytesIO(whole[:at] + part * (number - own) + whole[at:]) for number in (100, 101))
    assert load_photo(most, "most").shape == (140, 140, 3)
    with pytest.raises(UserError, match="more than 100 parts"):
        load_photo(more, "more")
