"""An image file, or an upload, as a colour picture."""

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from support.errors import UserError

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")  # Pillow knows more, and some start other programs
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
MAX_PIXELS = 50_000_000
WORKING_SIDE = 1600  # pixels: larger images are scaled down to it
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit warns and only then refuses; load_photo refuses by MAX_PIXELS


def image_files(paths):
    """The image files that paths name, a list: a folder gives those in it, or itself where it has none."""
    files = []
    for path in paths:
        try:
            inside = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()]
        except OSError:  # no folder, or none that may be read
            inside = []
        files += sorted(inside) or [path]
    return files


def load_photo(source, name):
    """An image as a picture: uint8 array [height, width, 3], RGB, the longer side at most 1600 pixels.

    source: a path, or a binary file that can seek; name: what errors call it. EXIF rotation is applied, transparent
    parts become paper. Reads PNG, JPEG, BMP, WebP, GIF (the first frame) and TIFF in grey, colour, palette, with alpha
    or 16 bit. Raises UserError, which gives the name, where it can't be read, has more than 50 megapixels or a side of
    fewer than 8 pixels.
    """
    try:
        with Image.open(source, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UserError(f"{name} has {width} × {height} pixels: scale it down to 50 megapixels or less")
            if min(width, height) < 8:
                raise UserError(f"{name} has {width} × {height} pixels: a digit needs at least 8 × 8")
            image.draft("RGB", (WORKING_SIDE, WORKING_SIDE))  # a JPEG is decoded at a fraction of its size
            return _rgb(_at_most(ImageOps.exif_transpose(image), WORKING_SIDE))
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{name} is not a picture of a known format: save it as PNG or JPEG") from error
    except Exception as error:  # noqa: BLE001 (a damaged image makes Pillow raise nearly anything)
        raise UserError(f"{name} can't be read as an image ({error}): save it anew as PNG or JPEG") from error


def _at_most(image, side):
    """The image in a mode that can be scaled, scaled down where its longer side is longer than `side`."""
    if image.mode.startswith(("I", "F")):  # 16 bit, mostly
        image = image.convert("F")
    else:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    factor = side / max(image.size)
    if factor < 1:
        size = tuple(max(8, round(length * factor)) for length in image.size)
        image = image.resize(size, Image.Resampling.HAMMING, reducing_gap=3)
    return image


def _rgb(image):
    """An image of mode F, RGBA or RGB as a uint8 array [height, width, 3]."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):  # as browsers save drawings
        image = image.convert("RGB")
    if image.mode == "RGB":
        return np.array(image)
    values = np.asarray(image, dtype=np.float32)
    if image.mode == "F":
        values = np.nan_to_num(values, posinf=0, neginf=0)
        values = values * (255 / (65535 if values.max() > 255 else 255 if values.max() > 1 else 1))
        values = np.repeat(values[..., None], 3, axis=2)
    else:
        values, alpha = values[..., :3], values[..., 3:] / 255
        seen = alpha[..., 0] > 0.5
        paper = 255 if not seen.any() or values[seen].mean() < 128 else 0  # dark ink was drawn on light, light on dark
        values = values * alpha + paper * (1 - alpha)
    return np.uint8(np.clip(np.rint(values), 0, 255))
