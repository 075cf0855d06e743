"""How a script starts and ends: nothing but one line where its user has to do something, no traceback."""

import os
import signal
import sys
import time
from contextlib import contextmanager


class UserError(Exception):
    """A mistake or mishap the user can mend. Its message is one line that says what is wrong and what to do."""

    def __init__(self, message, exit_code=2):
        super().__init__(" ".join(str(message).split()))
        self.exit_code = exit_code


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a script the way Ctrl-C does."""


def exit_code(interrupt):
    """The exit code by which a shell knows what stopped a program: 128 + the signal's number."""
    return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)


class Output:
    """A text stream that never raises: what can't be written (a closed pipe, a full disk, a letter) is not worth a run.

    error: the last OSError, or None.
    """

    def __init__(self, stream):
        stream.reconfigure(errors="backslashreplace")
        self.stream, self.error = stream, None

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        try:
            self.stream.write(text)
        except (OSError, ValueError) as error:
            self.error = error
        return len(text)

    def flush(self):
        try:
            self.stream.flush()
        except (OSError, ValueError) as error:
            self.error = error


def start_script():
    """Make what a script prints an Output, and Ctrl-C and SIGTERM end it at once, in one line.

    To be called before the imports that take seconds; one_line_errors then takes the signals over.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed: without this the next file opened would be taken for it
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 (for as long as the script runs)
    sys.stdout, sys.stderr = Output(sys.stdout), Output(sys.stderr)
    _on_signals(_leave)


def check_output():
    """Raise UserError where some of what start_script's script printed got lost, unless its reader wanted no more."""
    sys.stdout.flush()
    if sys.stdout.error and not isinstance(sys.stdout.error, BrokenPipeError):
        raise UserError(f"not all that was printed could be written ({sys.stdout.error})")


@contextmanager
def one_line_errors():
    """Print an error that a user can mend, or an interrupt, from inside as one line on standard error; then exit."""
    line, code = None, 0
    try:
        try:
            _on_signals(_raise_once())
            yield
        except UserError as error:
            line, code = f"error: {error}" if error.exit_code == 2 else error, error.exit_code
        except OSError as error:  # a folder that may not be read, a disk that fails: nobody can list them all
            line, code = f"error: {error}", 2
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError) or "allocate" in str(error)):  # PyTorch's is a RuntimeError
                raise
            line, code = "error: the memory is not enough: close other programs, or lower BATCH_SIZE or DIM_HIDDEN", 2
        finally:
            _on_signals(signal.SIG_IGN)  # only the end of the process is left
    except KeyboardInterrupt as stop:
        line, code = "stopped", exit_code(stop)
    if line:
        print(" ".join(str(line).split()), file=sys.stderr)
        sys.exit(code)


def _on_signals(handler):
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as for a script's background jobs
            signal.signal(number, handler)


def _leave(number, _):
    print("stopped", file=sys.stderr, flush=True)
    os._exit(128 + number)


def _raise_once():
    """A signal handler that raises KeyboardInterrupt or Terminated, and then lets the script a second to end by it."""
    raised = None

    def handler(number, frame):
        nonlocal raised
        if raised is None:
            raised = time.monotonic()
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if time.monotonic() - raised > 1:
            _leave(number, frame)

    return handler
