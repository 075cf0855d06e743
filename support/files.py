"""Files that are whole under their final name or not there at all, and files from anybody, read with bounds."""

import csv
import io
import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path

from support.errors import UserError

MAX_TEXT = 1_000_000  # bytes: ten thousand epochs' rows are a quarter of it


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
    """A path as a user would type it: relative to the current folder where it lies below that."""
    path = Path(path).absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def write_csv(path, header, rows):
    """Write a CSV file of a header and rows, atomically. Raises UserError where it can't be written."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def read_column(path, column):
    """The numbers of a CSV file's column by its column "epoch", a dict from int to float; {} where it can't be read.

    A row whose number is not finite, or beyond ±1e30, is left out. The file may come from anybody.
    """
    try:
        rows = csv.DictReader(io.StringIO(_text(path), newline=""))
        numbers = {int(row["epoch"]): float(row[column]) for row in rows}
    except Exception:  # noqa: BLE001 (whatever a file from anybody makes the parser raise)
        return {}
    return {epoch: number for epoch, number in numbers.items() if 0 <= epoch < 10**9 and abs(number) <= 1e30}


def read_json(path):
    """What a JSON file says, a dict; {} where it can't be read or says anything else. It may come from anybody."""
    try:
        content = json.loads(_text(path))
    except Exception:  # noqa: BLE001
        return {}
    return content if isinstance(content, dict) else {}


def _text(path):
    if not path.is_file():  # a pipe would be waited for
        raise ValueError("not a file")
    with path.open("rb") as file:
        content = file.read(MAX_TEXT + 1)
    if len(content) > MAX_TEXT:
        raise ValueError("too long")
    return content.decode()
