"""How a script ends when its user has to do something: one line on standard error, no traceback."""

import signal
import sys
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


@contextmanager
def one_line_errors():
    """Print a UserError or an interrupt from inside as one line on standard error and exit with its code."""

    def terminate(*_):
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except UserError as error:
        print(f"error: {error}" if error.exit_code == 2 else error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as stop:
        print("stopped", file=sys.stderr)
        sys.exit(exit_code(stop))
