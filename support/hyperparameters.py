"""The hyperparameters of train.py: which they are, and the allowed values of those that it comes with."""

import json
import re
from pathlib import Path

from support.errors import UserError


def _is_whole(value, low, high):
    return type(value) is int and low <= value <= high  # not isinstance: True is an int too


def _is_number(value, low, high):
    return type(value) in (int, float) and low <= value <= high


def _is_one_of(value, *allowed):
    return type(value) is str and value in allowed


def _is_json(value):
    try:
        return bool(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return False


# For each hyperparameter: whether a value is allowed, and the allowed values in words.
HYPERPARAMETERS = {
    "EPOCHS": (lambda value: _is_whole(value, 1, 10_000), "a whole number from 1 to 10000"),
    # OneCycleLR needs four steps.
    "BATCH_SIZE": (lambda value: _is_whole(value, 1, 15_000), "a whole number from 1 to 15000"),
    "LEARNING_RATE": (lambda value: _is_number(value, 1e-10, 1), "a number from 1e-10 to 1"),
    "DIM_HIDDEN": (
        lambda value: type(value) in (list, tuple) and len(value) == 5 and all(_is_whole(w, 1, 65_536) for w in value),
        "a list of five whole numbers from 1 to 65536",
    ),
    "LR_SCHEDULE": (lambda value: _is_one_of(value, "constant", "cosine"), '"constant" or "cosine"'),
    "AUGMENT": (lambda value: type(value) is bool, "True or False"),
    "LABEL_SMOOTHING": (lambda value: _is_number(value, 0, 0.99), "a number from 0 to 0.99"),
    "PRECISION": (lambda v: _is_one_of(v, "auto", "float32", "bfloat16"), '"auto", "float32" or "bfloat16"'),
    "SEED": (lambda value: _is_whole(value, 0, 2**63 - 1), "a whole number from 0 to 2**63 - 1"),
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
