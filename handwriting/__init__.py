"""Somebody's own digits, also for other code: `from handwriting import read_file, read_picture`."""

import functools
import os
from pathlib import Path

# Before PyTorch is imported: threads that wait sleep. Spinning, they take the cores from those they wait for, and on a
# busy machine a picture was read in 53 s instead of 9; on an idle one sleeping costs 7 %, so train.py leaves it out.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from PIL import Image

from handwriting.photo import page_of, pages
from handwriting.reader import read
from Model import load_parameters
from support.errors import UserError
from support.predicting import predict

SMALL = Path(__file__).parent.parent / "checkpoints" / "small"  # the network that comes with the program


def read_file(path, model=None):
    """Yield what is written on each page of an image file, as a reader.Reading: its lines, their digits.

    A digit's box is in pixels of the picture as a viewer shows it; of a PDF's page in points, 1/72 inch. model: a
    myCNN, such as Model.load_parameters gives; else the small network. Raises support.errors.UserError.
    """
    for _, page, _ in pages(Path(path), path):
        if isinstance(page, UserError):
            raise page
        yield _read(page, model)


def read_picture(picture, model=None):
    """What is written on a picture, as read_file gives it.

    picture: an image of Pillow's, or a uint8 array [height, width] or [height, width, 3], RGB; from 8×8 pixels to 50
    megapixels.
    """
    return _read(page_of(picture if isinstance(picture, Image.Image) else Image.fromarray(picture)), model)


def _read(page, model):
    reading = read(page.picture, functools.partial(predict, model or _small()))
    for digit in reading.digits:
        digit.box = page.given(digit.box)
    return reading


@functools.cache
def _small():
    return load_parameters(next(SMALL.glob("epoch_*")))
