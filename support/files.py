"""Files that are whole under their final name, or not there at all."""

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
