"""Reads handwritten digits, from your own code too: `from handwriting import read_file, read_picture`."""

import functools
import os
from pathlib import Path

# Set before PyTorch is imported: waiting threads sleep instead of spinning, which takes the cores from the threads they
# wait for: on a busy machine a picture took 53 s instead of 9. On an idle one it costs 7 %, so train.py doesn't set it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from PIL import Image

from handwriting.photo import page_of, pages
from handwriting.reader import read
from Model import load_parameters
from support.errors import UserError
from support.runs import last_epoch

SMALL = Path(__file__).parent.parent / "checkpoints" / "small"  # the network that comes with the program


def read_file(path, model=None):
    """Yield what is written on each page of an image file, as a reader.Reading: its lines and their digits.

    A digit's box is (left, top, right, bottom), in pixels of the picture as a viewer shows it; on a PDF's page it is in
    points, 1/72 inch. model: a myCNN, on the CPU, e.g. from Model.load_parameters; without it, the small network reads.
    Raises support.errors.UserError.
    """
    for _, page, _ in pages(Path(path), path):
        if isinstance(page, UserError):
            raise page
        yield _read(page, model)


def read_picture(picture, model=None):
    """What is written in a picture, as a reader.Reading, like read_file's.

    picture: a Pillow image, or a uint8 array [height, width] or [height, width, 3], RGB; from 8×8 pixels to 50
    megapixels. For a file's path, call read_file.
    """
    image = picture.copy() if isinstance(picture, Image.Image) else Image.fromarray(picture)  # page_of changes it
    return _read(page_of(image), model)


def _read(page, model):
    reading = read(page.picture, model or _small())
    for digit in reading.digits:
        digit.box = page.given(digit.box)
    return reading


@functools.cache
def _small():
    return load_parameters(last_epoch(SMALL)[1])
