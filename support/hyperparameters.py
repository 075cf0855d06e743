"""The allowed values of train.py's hyperparameters."""

from support.errors import UserError


def _is_whole(value, low, high):
    return type(value) is int and low <= value <= high  # not isinstance: True is an int too


# For each hyperparameter: whether a value is allowed, and the allowed values in words.
HYPERPARAMETERS = {
    "EPOCHS": (lambda value: _is_whole(value, 1, 10_000), "a whole number from 1 to 10000"),
    "BATCH_SIZE": (lambda value: _is_whole(value, 1, 60_000), "a whole number from 1 to 60000"),
    "LEARNING_RATE": (lambda value: type(value) in (int, float) and 1e-10 <= value <= 1, "a number above 0, up to 1"),
    "DIM_HIDDEN": (
        lambda value: type(value) in (list, tuple) and len(value) == 5 and all(_is_whole(w, 1, 65_536) for w in value),
        "a list of five whole numbers from 1 to 65536",
    ),
    "LR_SCHEDULE": (lambda value: value in ("constant", "cosine"), '"constant" or "cosine"'),
    "AUGMENT": (lambda value: type(value) is bool, "True or False"),
    "LABEL_SMOOTHING": (lambda value: type(value) in (int, float) and 0 <= value <= 0.99, "a number from 0 to 0.99"),
    "PRECISION": (lambda value: value in ("auto", "float32", "bfloat16"), '"auto", "float32" or "bfloat16"'),
    "SEED": (lambda value: _is_whole(value, 0, 2**63 - 1), "a whole number from 0 to 2**63 - 1"),
}


def checked_hyperparameters(module):
    """The hyperparameters in a module's globals, as a dict. Raises a UserError that names one with a wrong value."""
    for name, (is_allowed, words) in HYPERPARAMETERS.items():
        if not is_allowed(module.get(name)):  # None if the user has renamed or deleted it
            raise UserError(f"{name} = {module.get(name)!r:.60} in train.py must be {words}")
    return {name: module[name] for name in HYPERPARAMETERS}
