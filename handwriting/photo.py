"""Turns an image file, the pages of a scan or an upload into pictures."""

import io
import mmap
import os
import re
import subprocess
import sys
import tempfile
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError, features

from support.errors import UserError

FORMATS = ["PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF"]  # Pillow reads more, but some of those start other programs
FORMATS += ["AVIF"] * features.check("avif")  # in Pillow since 11.3
MAX_PIXELS, MAX_PAGES = 50_000_000, 500  # per page, per file
TOO_LARGE = f"has over {MAX_PIXELS // 10**6} megapixels: scale it down"
MAX_PARTS = 100  # scans in a JPEG, chunks in a PNG besides its data: with many, a small file takes minutes to decode
MAX_BLANK, BLANK = 200_000_000, 16  # at most: pixels in skipped blank frames; contrast of a blank frame, of 255
WORKING_SIDE = 1600  # pixels: an image with a longer side is scaled down to it
PDF_SECONDS, PDF_BYTES = 30, 10**9  # at most: to render a page of a PDF, and the memory for it, on Linux


@dataclass
class FilePage:
    """One page of an image file, ready to be read."""

    picture: np.ndarray  # uint8 [height, width, 3], RGB, the longer side at most 1600 pixels
    size: tuple  # width and height as a viewer shows it, in pixels; a PDF's page in points, 1/72 inch
    frame: int = 0  # of an animation, counted from 1; otherwise 0

    def given(self, box):
        """Convert a box (left, top, right, bottom) from the picture's pixels to the units of `size`."""
        sides = np.tile(self.picture.shape[1::-1], 2)  # width, height, width, height
        return tuple((np.clip(box, 0, sides) / sides * (self.size * 2)).tolist())


def load_photo(source, name):
    """The picture of an image file's first page; source and name are as for pages. Raises UserError."""
    _, page, _ = next(pages(source, name))
    if isinstance(page, UserError):
        raise page
    return page.picture


def pages(source, name):
    """Yield (name, FilePage, number of pages) for every page of an image file, one in memory at a time.

    source: a path, or a seekable binary file; name: what to call it (of several pages, the second is "name:2"). Reads
    PNG, JPEG, BMP, WebP, GIF, TIFF, PDF, HEIC, AVIF; of an animation the first frame that is not blank. If a page can't
    be read, has over 50 megapixels or a side below 8 pixels, it yields a UserError that names the page instead.
    """
    try:
        if isinstance(source, Path) and not source.is_file():  # a pipe would block
            raise UserError("has no picture" if source.is_dir() else "is not an existing file: name a run or an image")
        with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
            head = file.read(1024)
            count, load = (_pdf if b"%PDF-" in head else _image)(file, head)
            if count > MAX_PAGES:
                raise UserError(f"has more than {MAX_PAGES} pages: split it")
            for number in range(count):
                page_name = f"{name}:{number + 1}" if count > 1 else name
                try:
                    page = load(number)
                except Exception as error:  # noqa: BLE001 (a damaged image makes Pillow raise nearly anything)
                    page = _told(error, page_name)
                yield page_name, page, count
    except Exception as error:  # noqa: BLE001
        yield name, _told(error, name), 1


def _told(error, name):
    """The error as a UserError that begins with the name."""
    if isinstance(error, UserError):
        reason = error
    elif isinstance(error, Image.DecompressionBombError):  # far above MAX_PIXELS
        reason = TOO_LARGE
    elif isinstance(error, UnidentifiedImageError):
        reason = "is not a picture in a known format: save it as PNG or JPEG"
    elif isinstance(error, ImportError):  # pi-heif has no wheel for Windows on ARM
        reason = f"can't be read without a package: pip install {error.name}, or save it as PNG or JPEG"
    elif "Incorrect password" in str(error):
        reason = "is encrypted: save it without a password"
    else:
        reason = f"can't be read as an image ({error}): save it again as PNG or JPEG"
    return UserError(f"{name} {reason}")


def _pdf(file, _):
    """How many pages a PDF has, and a function from a page's index to its FilePage."""

    def load(number):
        numbers, pixels = _rendered(file, number, WORKING_SIDE).split(b"\n", 1)
        width, height, stride, *size = map(float, numbers.split())
        page = page_of(Image.frombytes("RGB", (int(width), int(height)), pixels, "raw", "BGR", int(stride)))
        page.size = tuple(size)
        return page

    return int(_rendered(file)), load


def _rendered(file, *page):
    """What render_pdf.py says of a PDF, a binary file, or of one of its pages."""
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(file, io.BytesIO):
            path = Path(folder, "upload.pdf")
            path.write_bytes(file.getbuffer())
        else:
            path = file.name
        command = sys.executable, Path(__file__).with_name("render_pdf.py"), path, PDF_SECONDS, PDF_BYTES, *page
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([str(word) for word in command], **pipes) as process:
            output = process.stdout.read()
    if process.returncode == 0:
        return output
    if output:
        raise ValueError(output.decode().strip())
    limits = f"{PDF_SECONDS} s and {PDF_BYTES / 10**9:g} GB of memory"
    raise UserError(f"can't be rendered within {limits}: save it as PNG or JPEG")


def _image(file, head):
    """How many pages an image file other than a PDF has, and a function from a page's index to its FilePage."""
    formats, is_tiff = FORMATS, head[:2] in (b"II", b"MM")
    if head[4:8] == b"ftyp" and head[8:11] != b"avi":  # HEIC, which has many brand codes
        import pi_heif

        pi_heif.register_heif_opener()
        formats = [*FORMATS, "HEIF"]
    if head.startswith((b"\xff\xd8", b"\x89PNG")):
        _check_parts(file, is_jpeg=head[0] == 0xFF)
    file.seek(0)
    with _quiet(is_tiff):
        image = Image.open(file, formats=formats)
        count = len(list(islice(ImageSequence.Iterator(image), MAX_PAGES + 1))) if is_tiff else 1
    is_animated = image.format in ("PNG", "WEBP", "GIF", "AVIF") and getattr(image, "is_animated", False)
    frames = range(min(image.n_frames, max(1, MAX_BLANK // (image.width * image.height)))) if is_animated else ()

    def load(number):
        with _quiet(is_tiff):
            for frame in frames or [number if is_tiff else image.tell()]:
                image.seek(frame)
                page = page_of(image)
                if not frames or np.ptp(page.picture, axis=(0, 1)).max() > BLANK:
                    break
        page.frame = frame + 1 if frames else 0
        return page

    return count, load


def _check_parts(file, is_jpeg):
    """Refuse a JPEG with too many scans or a PNG with too many chunks, counted without decoding them."""
    data = file.getbuffer() if isinstance(file, io.BytesIO) else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    position, parts = (0 if is_jpeg else 8), 0
    # In a scan's data, FF is followed by 00 or a restart, D0 to D7. What is no marker is skipped, as libjpeg does.
    part = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])(..)" if is_jpeg else rb"(....)(....)", re.DOTALL)
    while (found := part.search(data, position)) and found[1] != b"\xd9" and found[2] != b"IEND":
        length = int.from_bytes(found[2 if is_jpeg else 1], "big")  # a marker's counts itself, a chunk's only data
        position = found.start(2) + length if is_jpeg else found.end() + length + 4
        parts += found[1] == b"\xda" if is_jpeg else found[2] not in (b"IDAT", b"fdAT", b"fcTL")
        if parts > MAX_PARTS:
            raise UserError(f"has more than {MAX_PARTS} parts, which take long to decode: save it again as PNG or JPEG")


@contextmanager
def _quiet(is_tiff):
    """Raise Pillow's warnings about a TIFF, and what libtiff's C code writes to standard error; else hide warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("error" if is_tiff else "ignore")
        warnings.filterwarnings("ignore", "Metadata Warning")  # many scanners' undamaged files cause one
        if not is_tiff:
            yield
            return
        with tempfile.TemporaryFile() as said:
            standard_error = os.dup(2)
            os.dup2(said.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(standard_error, 2)
                os.close(standard_error)
            said.seek(0)
            if complaint := said.readline().strip():
                raise ValueError(complaint.decode(errors="replace"))


def page_of(image):
    """A Pillow image as a FilePage. Raises an exception if it is too large or damaged."""
    size = image.size
    if size[0] * size[1] > MAX_PIXELS:
        raise UserError(TOO_LARGE)
    image.draft("RGB", (WORKING_SIDE, WORKING_SIDE))  # a JPEG is decoded at a fraction of its size
    image = ImageOps.exif_transpose(image)
    size = tuple(sorted(size, reverse=image.width > image.height))
    is_deep = image.mode.startswith(("I", "F"))  # mostly 16 bits
    image = image.convert("F" if is_deep else "RGBA" if image.has_transparency_data else "RGB")
    image.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.HAMMING, reducing_gap=3)
    if min(image.size) < 8:
        raise UserError(f"has {size[0]} × {size[1]} pixels: a digit needs at least 8 × 8")
    if is_deep:  # stretched to 0..255, since many use only a few of their levels
        values = np.nan_to_num(np.asarray(image), posinf=0, neginf=0)
        image = Image.fromarray(np.uint8((values - values.min()) * (255 / (np.ptp(values) or 1))))
    elif image.mode == "RGBA":
        ink = np.asarray(image)[np.asarray(image.getchannel("A")) > 127, :3]
        paper = "black" if ink.size and ink.mean() >= 128 else "white"  # light ink was on dark paper, dark on light
        image = Image.alpha_composite(Image.new("RGBA", image.size, paper), image)
    return FilePage(np.array(image.convert("RGB")), size)
