"""What each hyperparameter of train.py may be."""

from support.errors import UserError


def _whole_number(low, high):
    return lambda value: type(value) is int and low <= value <= high


def _number(low, high):
    return lambda value: type(value) in (int, float) and low <= value <= high


def _one_of(*values):
    return lambda value: type(value) in map(type, values) and value in values


def _five_widths(value):
    return type(value) in (list, tuple) and len(value) == 5 and all(map(_whole_number(1, 65_536), value))


# Each hyperparameter: whether a value is allowed, and what is, in words.
HYPERPARAMETERS = {
    "EPOCHS": (_whole_number(1, 10_000), "a whole number from 1 to 10000"),
    "BATCH_SIZE": (_whole_number(1, 60_000), "a whole number from 1 to 60000"),
    "LEARNING_RATE": (_number(1e-10, 1), "a number above 0, up to 1"),
    "DIM_HIDDEN": (_five_widths, "a list of five whole numbers from 1 to 65536"),
    "LR_SCHEDULE": (_one_of("constant", "cosine"), '"constant" or "cosine"'),
    "AUGMENT": (_one_of(True, False), "True or False"),
    "LABEL_SMOOTHING": (_number(0, 0.99), "a number from 0 to 0.99"),
    "PRECISION": (_one_of("auto", "float32", "bfloat16"), '"auto", "float32" or "bfloat16"'),
    "SEED": (_whole_number(0, 2**63 - 1), "a whole number from 0 to 2**63 - 1"),
}


def checked_hyperparameters(module):
    """The hyperparameters among a module's names, as a dict; a UserError names one that is not allowed."""
    for name, (is_allowed, words) in HYPERPARAMETERS.items():
        if not is_allowed(module[name]):
            raise UserError(f"{name} = {module[name]!r:.60} in train.py must be {words}")
    return {name: module[name] for name in HYPERPARAMETERS}
