"""Image files -> what is written on them, printed, and own_digits.png."""

import sys

from handwriting.photo import image_files, load_photo
from handwriting.picture import PHOTOS, draw_own_digits
from handwriting.reader import read
from support.errors import UserError
from support.files import shown


def read_images(paths, logits_of, folder):
    """Print the digits on each image, how sure the network is of each, and the runner-up; draw own_digits.png.

    paths: image files, and folders of them. logits_of: as reader.read takes it. folder: where own_digits.png goes.
    Returns the exit code: 1 where an image could not be read, else 0.
    """
    drawn, failures = [], 0
    for path in image_files(paths):
        try:
            if path.is_dir():
                raise UserError(f"{path} has no image and no epoch that can be read")
            if not path.is_file():
                raise UserError(f"{path} is not there or no file: name a run, such as checkpoints/run-001, or an image")
            picture = load_photo(path, path)
            reading = read(picture, logits_of)
            if not reading.lines:
                raise UserError(f"{path} shows no digit: write darker, or come closer")
        except (UserError, OSError) as error:  # OSError: of a name that is too long
            print(f"error: {error}", file=sys.stderr)
            failures += 1
            continue
        for line in reading.lines:
            print(
                f"{path}: {' '.join(str(digit.answer) for digit in line)}   {', '.join(map(_sure, line))}", flush=True
            )
        if reading.turned:
            print(f"{path}: read turned by {reading.turned}°")
        if len(drawn) < PHOTOS:
            drawn.append((path.name, picture, reading))
    if drawn:
        draw_own_digits(folder / "own_digits.png", drawn)
        print(f"pictures in {shown(folder / 'own_digits.png')}")
    return 1 if failures else 0


def _sure(digit):
    """A digit with its probability and the runner-up, such as "4 91.0% (or 9 1.2%)"."""
    second, first = digit.probabilities.argsort()[-2:]
    return f"{first} {digit.probabilities[first]:.1%} (or {second} {digit.probabilities[second]:.1%})"
