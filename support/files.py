"""Files are whole: written completely or not at all, and read only if their checksums hold."""

import csv
import io
import os
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

from support.errors import UserError


@contextmanager
def atomic_write(path):
    """Yield a binary file to write to, which gets the name `path` only when it is complete and on the disk.

    Raises UserError if it can't be written (a full disk, no permission); an earlier file at `path` is then unchanged.
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
        problem = f"{shown(path)} could not be written ({error.strerror or error})"
        raise UserError(f"{problem}: free some disk space, or allow writing there") from error
    finally:
        with suppress(OSError):  # the error above says more
            temporary.unlink(missing_ok=True)


@contextmanager
def checked_zip(path, advice):
    """A context in which the zip file `path` is read, whose checksums are tested before: its readers don't.

    Raises a UserError with the advice for any error in it, since a damaged file makes libraries raise nearly anything,
    and if its members are compressed, or claim to be larger than the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            is_compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            if is_compressed or sum(member.file_size for member in members) > Path(path).stat().st_size:
                raise ValueError("its members are compressed, or claim to be larger than the file")
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} is wrong")
        yield
    except Exception as error:
        raise UserError(f"{shown(path)} is missing or damaged ({error}): {advice}") from error


def shown(path):
    """A path as a user would type it, a string: relative to the current folder if it is inside it."""
    path = Path(path).absolute()
    return (path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path).as_posix()


def write_csv(path, header, rows, encoding="utf-8"):
    """Write a CSV file of a header and rows, atomically. Raises UserError if it can't be written."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode(encoding, "backslashreplace"))  # a file's name may not be Unicode
