"""The judge: a second, small network that looks again at each candidate of the finder. Is it a digit, and which?

The finder overlooks few digits, and takes some letters and signs for digits. The judge sees each candidate at the same
size, with what stands around it, as in Girshick et al., "Rich feature hierarchies", 2014. It is not told what the
finder thinks, so that the two make different mistakes.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit, log_softmax, logit, logsumexp
from torch import nn

from handwriting.finder import PAD, Context, layer, load_network
from handwriting.lines import THRESHOLD
from support.device import CPU, autocast, best_precision

WEIGHTS = Path(__file__).parent / "judge.npz"
HEIGHT, WIDTH, SIZE = 48, 96, 20  # pixels: of a patch, and of the longer side of the candidate in its middle
WIDTHS = (24, 40, 72)  # channels at strides 2, 4, 8
DROPOUT = 0.3  # share of the features that are left out at random, in training
DOUBT = 2  # logits: a candidate as near as this to lines.THRESHOLD is in doubt
SIZES = 0.82, 1.22  # times the finder's: a candidate in doubt is judged at these sizes too, and the mean counts
EPSILON = 1e-4  # the finder's confidence is taken as this far from 0 and 1, at the least
BATCH_SIZE = 256  # patches; it has no effect on the result, only on memory


class Judge(nn.Module):
    """Patches, float [N, 3, 48, 96], as patches_of gives them -> logits, float [N, 11].

    The first ten: that a 0, a 1, ... stands in the middle; the last: that no digit does.
    """

    def __init__(self):
        super().__init__()
        a, b, c = WIDTHS
        self.layers = nn.Sequential(
            layer(3, a, 5, 2), layer(a, b, 3, 2), Context(b, b), layer(b, c, 3, 2), Context(c, c), Context(c, c)
        )
        self.last = nn.Linear(c * HEIGHT * WIDTH // 64, 11)

    def forward(self, x):
        return self.last(F.dropout(self.layers(x).flatten(1), DROPOUT, self.training))


def patches_of(look, row, column, size):
    """What stands around places in a picture, all at one size: float32 [N, 3, 48, 96].

    look: the finder.Look in which they were found; row, column, size: arrays [N], in the picture's pixels. The colours
    have mean 0 and standard deviation 1 in each patch.
    """
    sides = np.array(look.pixels.shape[:0:-1])  # width, height
    places = 2 * (np.stack([column, row], 1) * look.scale + PAD) / sides - 1
    steps = (size * look.scale / SIZE)[:, None] * [WIDTH, HEIGHT] / sides
    affine = torch.from_numpy(np.stack([steps * [1, 0], steps * [0, 1], places], 2)).float()
    grid = F.affine_grid(affine, (len(row), 3, HEIGHT, WIDTH), align_corners=False).reshape(1, -1, WIDTH, 2)
    colours = F.grid_sample(look.pixels[None], grid, padding_mode="border", align_corners=False)[0]
    patches = colours.reshape(3, -1, HEIGHT, WIDTH).transpose(0, 1)
    return normalised(patches.contiguous(memory_format=torch.channels_last))


def normalised(patches):
    """Patches, float [N, 3, H, W], with mean 0 and standard deviation 1 in each."""
    spread, mean = torch.std_mean(patches, (1, 2, 3), keepdim=True)
    return (patches - mean) / (spread + 0.02)


def load_judge():
    """The trained Judge, as finder.load_network gives it."""
    return load_network(Judge(), WEIGHTS)


@torch.inference_mode()
def judged(judge, looks, found, again):
    """The confidence, from 0 to 1, that each candidate is a digit, float64 [N], and its labels, as in lines.Found.

    The confidence comes from the mean of the finder's logit and the judge's; in doubt, what the judge says is a mean
    over the sizes `again` too. looks: what finder.look returned; found: the candidates, as lines.Found.
    """
    finders = logit(np.clip(found.sure, EPSILON, 1 - EPSILON))
    own = _answers(judge, looks, found)
    doubtful = np.flatnonzero(np.abs((finders + _odds(own)) / 2 - logit(THRESHOLD)) < DOUBT)
    others = [_answers(judge, looks, found[doubtful], size) for size in again]
    own[doubtful] = np.mean([own[doubtful], *others], axis=0)
    return expit((finders + _odds(own)) / 2), log_softmax(own[:, :10], axis=1)


def _odds(answers):
    """The logit that each is a digit, from the judge's answers."""
    return logsumexp(answers[:, :10], axis=1) - answers[:, 10]


def _answers(judge, looks, found, size=1.0):
    """The judge's log probabilities for each candidate, float64 [N, 11], if it had `size` times its size."""
    answers = np.zeros((len(found), 11))
    for number in np.unique(found.look):
        indices = np.flatnonzero(found.look == number)
        for own in np.split(indices, range(BATCH_SIZE, len(indices), BATCH_SIZE)):
            patches = patches_of(looks[number], found.row[own], found.column[own], size * found.size[own])
            with autocast(CPU, best_precision(CPU)):
                logits = judge(patches)
            answers[own] = logits.float().log_softmax(1)
    return answers
