"""How a script ends when the user makes a mistake or stops it: one line and an exit code, no traceback."""

import argparse
import re
import signal
import sys

IS_INTERACTIVE = hasattr(sys, "ps1") or "idlelib" in sys.modules  # in IPython, Jupyter and IDLE: the process is theirs
OUT_OF_MEMORY = "MemoryError|allocate|out of memory|ALLOC_FAILED"  # in messages of Python, PyTorch, CUDA and cuBLAS


class UserError(Exception):
    """A problem that the user can fix. Its message is one line that says what is wrong and what to do."""

    def __init__(self, message):
        super().__init__(" ".join(str(message).split()))

    def _render_traceback_(self):  # IPython and Jupyter show this in place of a traceback
        return [f"error: {self}"]


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser, whose help shows the description as it is written, and whose errors are one line."""

    def __init__(self, description):
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message):
        raise UserError(f"{message}: see python {self.prog} --help")


def one_line_errors():
    """From here on, an error that the user can fix, Ctrl-C or SIGTERM ends the script in one line on standard error."""
    if not IS_INTERACTIVE:
        sys.excepthook = _excepthook
        signal.signal(signal.SIGTERM, _terminate)


def exit_with(code):
    """End the script with an exit code; IPython, Jupyter and IDLE, which would print it as an exception, need none."""
    if not IS_INTERACTIVE:
        sys.exit(code)


def _terminate(number, frame):
    raise KeyboardInterrupt(128 + number)  # SIGTERM ends a script as Ctrl-C does, but with this exit code


def _excepthook(kind, error, traceback):
    if isinstance(error, KeyboardInterrupt):
        line, code = "stopped", error.args[0] if error.args else 130
    elif isinstance(error, UserError):
        line, code = f"error: {error}", 2
    elif isinstance(error, OSError):  # no permission, a failing disk: too many to list
        where = f"{error.filename}: " if error.filename else ""
        line, code = f"error: {where}{error.strerror or error}: check the name, its permissions and the disk", 2
    elif isinstance(error, (MemoryError, RuntimeError)) and re.search(OUT_OF_MEMORY, f"{kind} {error}"):
        line, code = "error: there is not enough memory: close other programs, or lower BATCH_SIZE or DIM_HIDDEN", 2
    else:
        sys.__excepthook__(kind, error, traceback)
        return
    print(" ".join(line.split()), file=sys.stderr)
    sys.exit(code)
