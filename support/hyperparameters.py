"""The hyperparameters of train.py: which they are, and the allowed values of those that it comes with."""

import json
import re
from contextlib import suppress
from pathlib import Path

from support.errors import UserError


def _number(low, high, *types):  # not isinstance: True is an int too
    words = f"a {'number' if float in types else 'whole number'} from {low} to {high}"
    return lambda value: type(value) in types and low <= value <= high, words


def _one_of(*allowed):
    words = " or ".join(map(repr, allowed))
    return lambda value: type(value) is type(allowed[0]) and value in allowed, words


def _is_list_of_widths(value):
    return type(value) in (list, tuple) and len(value) == 5 and all(type(w) is int and 1 <= w <= 65_536 for w in value)


def _is_json(value):
    with suppress(TypeError, ValueError):
        return bool(json.dumps(value, allow_nan=False))


# For each hyperparameter: whether a value is allowed, and the allowed values in words.
HYPERPARAMETERS = {
    "EPOCHS": _number(1, 10_000, int),
    "BATCH_SIZE": _number(1, 15_000, int),  # OneCycleLR needs four steps
    "LEARNING_RATE": _number(1e-10, 1, int, float),
    "DIM_HIDDEN": (_is_list_of_widths, "a list of five whole numbers from 1 to 65536"),
    "LR_SCHEDULE": _one_of("constant", "cosine"),
    "AUGMENT": _one_of(True, False),
    "LABEL_SMOOTHING": _number(0, 0.99, int, float),
    "PRECISION": _one_of("auto", "float32", "bfloat16"),
    "SEED": _number(0, 2**63 - 1, int),
}
OTHERS = _is_json, "a number, string, True, False or None, or a list or dict of them: settings.json holds nothing else"


def checked_hyperparameters(module):
    """The constants in capitals of a module, but no paths, as a dict. Raises a UserError that names a wrong one."""
    names = [name for name in module if re.fullmatch("[A-Z][A-Z0-9_]+", name) and not isinstance(module[name], Path)]
    for name in HYPERPARAMETERS | dict.fromkeys(names):
        is_allowed, words = HYPERPARAMETERS.get(name, OTHERS)
        if not is_allowed(module.get(name)):  # None if the user has renamed or deleted it
            raise UserError(f"{name} = {module.get(name)!r:.60} in train.py must be {words}")
    return {name: module[name] for name in names}
