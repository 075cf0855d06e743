"""How a script ends when its user has to do something: one line on standard error, no traceback."""

import sys
from contextlib import contextmanager


class UserError(Exception):
    """A mistake or mishap the user can mend. Its message is one line that says what is wrong and what to do."""

    def __init__(self, message, exit_code=2):
        super().__init__(" ".join(str(message).split()))
        self.exit_code = exit_code


@contextmanager
def one_line_errors():
    """Print a UserError raised inside as one line on standard error and exit with its code."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
