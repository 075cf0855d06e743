"""What each hyperparameter of train.py may be, and whether there is room for what they ask."""

import shutil

from support.errors import UserError
from support.files import shown


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
MAX_RECORD = 2**31 - 1  # bytes: what a record of NumPy, and so a parameter file, can hold


def checked_hyperparameters(module):
    """The hyperparameters among a module's names, as a dict; a UserError names one missing or out of its range."""
    for name, (allowed, words) in HYPERPARAMETERS.items():
        if name not in module:
            raise UserError(f"{name} is missing in train.py: it must be {words}")
        if not allowed(module[name]):
            raise UserError(f"{name} = {_shortened(module[name])} in train.py must be {words}")
    return {name: module[name] for name in HYPERPARAMETERS}


def check_size(model, batch_size, bytes_a_number, free):
    """Raise UserError where a myCNN, on any device, the meta device too, is too large to be saved or to be trained.

    bytes_a_number: of what the layers compute, 2 or 4. free: the memory to train in, in bytes. The need is a lower
    bound, a fifth or so below what training was seen to take: what is refused could not have been trained.
    """
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    if size > MAX_RECORD:
        raise UserError(
            f"the network that DIM_HIDDEN in train.py makes has {size / 1e9:.2f} GB, and a parameter file can hold "
            f"{MAX_RECORD / 1e9:.2f} GB: lower DIM_HIDDEN"
        )
    pixels = {"conv1": 28 * 28, "conv2": 14 * 14, "conv3": 7 * 7, "fc1": 1, "fc2": 1}
    units = sum(len(getattr(model, layer).weight) * count for layer, count in pixels.items())
    need = 5 * size + 5 * bytes_a_number * units * batch_size  # parameters, gradients, Adam's moments, a copy; outputs
    if need > free:
        raise UserError(
            f"training takes {need / 1e9:.1f} GB of memory at least, and {free / 1e9:.1f} GB are free: "
            "lower BATCH_SIZE or DIM_HIDDEN in train.py"
        )


def check_room(folder, epochs, parameters):
    """Raise UserError where the disk has too little room for `epochs` parameter files of so many parameters, and for
    the training state of three times the size, which is there twice while it is replaced.
    """
    need, free = (epochs + 2 * 3) * 4 * parameters, shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"a run needs {need / 1e9:.1f} GB in {shown(folder)}, where {free / 1e9:.1f} GB are free: make room "
            "or lower EPOCHS or DIM_HIDDEN"
        )


def _shortened(value):
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
