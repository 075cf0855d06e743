"""Files that are whole under their final name or not there at all, and small files read back."""

import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path

from support.errors import UserError


@contextmanager
def atomic_write(path):
    """Give a binary file to write to, which takes the name `path` only once it is complete and on the disk.

    Until then it is called `.{name}.tmp`, in the same folder. Raises UserError where it can't be written (a full disk,
    no permission); what stood at `path` before is then still there, untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")  # what a killed process left there is overwritten
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} could not be written ({error}): make room or permit writing there") from error
    finally:
        with suppress(OSError):  # the error above says more
            temporary.unlink(missing_ok=True)


def shown(path):
    """A path as a user would type it, a string: relative to the current folder where it lies below that."""
    path = Path(path).absolute()
    return (path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path).as_posix()


def write_csv(path, header, rows):
    """Write a CSV file of a header and rows, atomically. Raises UserError where it can't be written."""
    lines = [",".join(map(str, row)) + "\n" for row in (header, *rows)]
    with atomic_write(path) as file:
        file.write("".join(lines).encode())


def read_json(path):
    """What a JSON file says; {} where it can't be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
