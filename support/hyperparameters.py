"""The hyperparameters of train.py: which they are, and the allowed values of those that it comes with."""

import json
import re
from pathlib import Path

from support.errors import UserError


def _whole(low, high):
    words = f"a whole number from {low} to {high}"
    return lambda value: type(value) is int and low <= value <= high, words  # not isinstance: True is an int too


def _number(low, high):
    return lambda value: type(value) in (int, float) and low <= value <= high, f"a number from {low} to {high}"


def _one_of(*allowed):
    words = " or ".join(map(repr, allowed))
    return lambda value: type(value) is type(allowed[0]) and value in allowed, words


def _is_list_of_widths(value):
    return type(value) in (list, tuple) and len(value) == 5 and all(type(w) is int and 1 <= w <= 65_536 for w in value)


def _is_json(value):
    try:
        return bool(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return False


# For each hyperparameter: whether a value is allowed, and the allowed values in words.
HYPERPARAMETERS = {
    "EPOCHS": _whole(1, 10_000),
    "BATCH_SIZE": _whole(1, 15_000),  # OneCycleLR needs four steps
    "LEARNING_RATE": _number(1e-10, 1),
    "DIM_HIDDEN": (_is_list_of_widths, "a list of five whole numbers from 1 to 65536"),
    "LR_SCHEDULE": _one_of("constant", "cosine"),
    "AUGMENT": _one_of(True, False),
    "LABEL_SMOOTHING": _number(0, 0.99),
    "PRECISION": _one_of("auto", "float32", "bfloat16"),
    "SEED": _whole(0, 2**63 - 1),
}
OTHERS = _is_json, "a number, string, True, False or None, or a list or dict of them: settings.json holds nothing else"


def checked_hyperparameters(module):
    """The hyperparameters in a module's globals, as a dict: all its constants in capitals, but no paths.

    Those that a user has added count too. Raises a UserError that names one with a wrong value.
    """
    names = [name for name in module if re.fullmatch("[A-Z][A-Z0-9_]+", name) and not isinstance(module[name], Path)]
    for name in HYPERPARAMETERS | dict.fromkeys(names):
        is_allowed, words = HYPERPARAMETERS.get(name, OTHERS)
        if not is_allowed(module.get(name)):  # None if the user has renamed or deleted it
            raise UserError(f"{name} = {module.get(name)!r:.60} in train.py must be {words}")
    return {name: module[name] for name in names}
