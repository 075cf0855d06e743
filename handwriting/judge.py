"""A second look at what the finder found, with what stands around it: is it a digit?

The finder overlooks hardly any digit, and takes some letters and signs for one: the classical case for a second, small
network that sees each candidate in one size (as in Viola and Jones, "Rapid object detection using a boosted cascade",
2001).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from handwriting.finder import PAD
from support.weights import load_weights, save_weights

WEIGHTS = Path(__file__).with_name("judge.npz")
HEIGHT, WIDTH, SIZE = 48, 96, 20  # pixels: of a patch, and of the longer side of what stands in its middle
CHANNELS = 5  # red, green, blue, the finder's ink and its centres
WIDTHS = (16, 32, 48, 64)
BATCH_SIZE = 256  # patches; no effect on the result, only on memory


class Judge(nn.Module):
    """Patches, float [N, 5, 48, 96], as patches_of gives them -> the logit of a digit in their middle, float [N]."""

    def __init__(self):
        super().__init__()
        layers, inputs = [], CHANNELS
        for width, stride in zip(WIDTHS, (2, 2, 2, 1), strict=True):
            layers += [nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(inputs * HEIGHT * WIDTH // 64, 1)

    def forward(self, x):
        return self.last(self.layers(x).flatten(1))[:, 0]


def patches_of(look, row, column, size):
    """What stands around places on a picture, all in one size: float32 [N, 5, 48, 96].

    look: the finder.Look at which they were found; row, column, size: arrays [N], in the picture's pixels. Colours are
    brought to mean 0 and standard deviation 1 in each patch, and where the picture ends its border goes on.
    """
    places = np.stack([column, row], 1) * look.scale + PAD
    y, x = np.meshgrid(np.arange(HEIGHT) + 0.5 - HEIGHT / 2, np.arange(WIDTH) + 0.5 - WIDTH / 2, indexing="ij")
    steps = (size * look.scale / SIZE)[:, None, None, None] * np.stack([x, y], 2)
    sides = np.array(look.pixels.shape[:0:-1])  # width, height
    grid = torch.from_numpy(np.float32(2 * (places[:, None, None] + steps) / sides - 1))
    grid = grid.reshape(1, -1, WIDTH, 2)
    colours, maps = (
        F.grid_sample(seen[None], grid, padding_mode="border", align_corners=False)[0]
        .reshape(len(seen), -1, HEIGHT, WIDTH)
        .transpose(0, 1)
        for seen in (look.pixels, torch.from_numpy(look.maps[:2]))
    )
    spread, mean = torch.std_mean(colours, (1, 2, 3), keepdim=True)
    return torch.cat([(colours - mean) / (spread + 0.02), maps.flip(1)], 1)


def save_judge(judge):
    """Write judge.npz, in half precision and without BatchNorm's counters, which only training needs."""
    state = {name: t.half() for name, t in judge.state_dict().items() if not name.endswith("num_batches_tracked")}
    save_weights(WEIGHTS, state)


def load_judge():
    """The trained Judge of judge.npz, on the CPU, only to be used. Raises UserError where it is missing or damaged."""
    judge = Judge()
    judge.load_state_dict(load_weights(WEIGHTS))
    return judge.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def judged(judge, looks, found):
    """The chance that each of what was found is a digit, float [N]. looks: finder.look's; found: lines.Found."""
    chances = np.zeros(len(found))
    for number, look in enumerate(looks):
        for own in np.array_split(np.flatnonzero(found.look == number), 1 + (found.look == number).sum() // BATCH_SIZE):
            if len(own):
                patches = patches_of(look, found.row[own], found.column[own], found.size[own])
                chances[own] = judge(patches.contiguous(memory_format=torch.channels_last)).sigmoid().numpy()
    return chances
