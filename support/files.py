"""Files that are whole under their final name, or not there at all."""

import csv
import io
import os
from contextlib import contextmanager
from pathlib import Path

from support.errors import UserError


@contextmanager
def atomic_write(path):
    """Give a binary file to write to, which takes the name `path` only once it is complete and on the disk.

    Until then it is called `.{name}.tmp`, in the same folder. Raises UserError where it can't be written (a full
    disk, no permission); what stood at `path` before is then still there, untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} could not be written ({error}): make room or permit writing there") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_csv(path, header, rows):
    """Write a CSV file of a header and rows, atomically. Raises UserError where it can't be written."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
