"""The lab report's network, myCNN, and its parameter files."""

import torch
import torch.nn.functional as F
from torch import nn

from support.errors import UserError
from support.files import load_weights, save_weights, shown


class myCNN(nn.Module):  # noqa: N801 (the lab report's name)
    """The lab report's network: three convolutions with BatchNorm, then three linear layers.

    dim_hidden: the widths of conv1, conv2, conv3, fc1 and fc2; the lab report's give 26,585,098 parameters.
    """

    def __init__(self, dim_hidden=(32, 128, 512, 1024, 256)):
        super().__init__()
        dim1, dim2, dim3, dim4, dim5 = dim_hidden
        self.conv1 = nn.Conv2d(1, dim1, kernel_size=3, stride=1, padding=1)
        self.bn1 = nn.BatchNorm2d(dim1)
        self.conv2 = nn.Conv2d(dim1, dim2, kernel_size=3, stride=1, padding=1)
        self.bn2 = nn.BatchNorm2d(dim2)
        self.conv3 = nn.Conv2d(dim2, dim3, kernel_size=3, stride=1, padding=1)
        self.bn3 = nn.BatchNorm2d(dim3)
        self.fc1 = nn.Linear(dim3 * 7 * 7, dim4)
        self.fc2 = nn.Linear(dim4, dim5)
        self.fc3 = nn.Linear(dim5, 10)

    def forward(self, x):
        """Logits, float [N, 10], of digits x, float [N, 1, 28, 28] in [0, 1], bright ink on black."""
        # Pooling before ReLU gives the same as pooling after it, with a quarter of the work.
        x = F.relu(F.max_pool2d(self.bn1(self.conv1(x)), 2))  # [N, dim1, 14, 14]
        x = F.relu(F.max_pool2d(self.bn2(self.conv2(x)), 2))  # [N, dim2, 7, 7]
        x = F.relu(self.bn3(self.conv3(x)))  # [N, dim3, 7, 7]
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc3(F.relu(self.fc2(x)))


def save_parameters(model, path):
    """Save a myCNN's state_dict to the .npz file `path`, atomically. Raises UserError if it can't be written."""
    save_weights(path, model.state_dict())


def load_parameters(path):
    """The myCNN, on the CPU and in eval mode, whose parameters save_parameters wrote to `path`.

    Raises a UserError that names the file if it is damaged or does not hold a myCNN's parameters.
    """
    state = load_weights(path)
    try:
        widths = [len(state[f"{layer}.weight"]) for layer in ("conv1", "conv2", "conv3", "fc1", "fc2")]
        with torch.device("meta"):  # shapes only: nothing to initialise
            model = myCNN(widths)
        model.load_state_dict(state, assign=True)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{shown(path)} holds weights, but not those of a myCNN") from error
    return model.float().eval()
