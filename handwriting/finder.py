"""The finder: a small network that detects the digits in a picture, and which ink belongs to which digit.

training/ trains it on pages made from MNIST's training digits. It follows Zhou et al., "Objects as Points", 2019 (a
heatmap of centres, with the size predicted at each centre); in addition, each pixel votes for the centre of its digit,
as in Cheng et al., "Panoptic-DeepLab", 2020.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from support.device import CPU, autocast, best_precision
from support.errors import UserError
from support.files import load_weights, save_weights, shown

WEIGHTS = Path(__file__).parent / "finder.npz"
WIDTHS = (24, 48, 80, 128)  # at strides 2, 4, 8, 16
UNIT = 16  # pixels: the unit of the votes
PAD = 16  # pixels: padding around a picture, a copy of its outermost pixels
DETECTED = 0.55  # confidence threshold of the detections by which larger scales are skipped
LARGE, SURE = 28, 0.65  # pixels, confidence: if 3 of 4 digits are larger and half are surer, larger scales are skipped


class Finder(nn.Module):
    """Pictures, float [N, 3, H, W] in [0, 1] -> float [N, 6, H / 2, W / 2] and [N, 10, H / 4, W / 4].

    H and W are multiples of 16. The six maps: the logit of a digit's centre, the logit of its ink, the logarithms of
    its height and its width in pixels, and the offset from this pixel to the digit's centre, down and to the right, in
    units of 16 pixels. The ten: the logits of which digit's ink this is. Only training uses these: to learn to tell
    digits from each other is also to learn to tell them from letters.
    """

    def __init__(self):
        super().__init__()
        a, b, c, d = WIDTHS
        self.down = nn.ModuleList(
            [
                nn.Sequential(layer(3, a, 5, stride=2), layer(a, a)),
                nn.Sequential(layer(a, b, stride=2), layer(b, b)),
                nn.Sequential(layer(b, c, stride=2), layer(c, c)),
                nn.Sequential(layer(c, d, stride=2), layer(d, d, dilation=2), layer(d, d, dilation=4), layer(d, d)),
            ]
        )
        self.near, self.around = Context(c, 96), nn.Sequential(*(Context(d, 144, reach) for reach in (1, 2, 4)))
        self.side = nn.ModuleList([nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1), nn.Conv2d(b, a, 1)])
        self.up = nn.ModuleList([layer(c, c), layer(b, b), layer(a, a)])
        self.head = nn.Sequential(layer(a, a), nn.Conv2d(a, 6, 1))
        self.label = nn.Conv2d(b, 10, 1)

    def forward(self, x):
        x = 2 * x - 1
        passed = []
        for down in self.down[:2]:
            passed.append(x := down(x))
        passed.append(x := self.near(self.down[2](x)))
        x = self.around(self.down[3](x))
        steps = []
        for side, up, earlier in zip(self.side, self.up, reversed(passed), strict=True):
            x = F.interpolate(side(x), scale_factor=2, mode="bilinear", align_corners=False)
            steps.append(x := up(x + earlier))
        return self.head(x), self.label(steps[1])


class Context(nn.Module):
    """A residual block that adds context to each pixel: its surroundings tell whether it belongs to text or a digit."""

    def __init__(self, width, hidden, reach=1):
        super().__init__()
        last = nn.Sequential(nn.Conv2d(hidden, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        nn.init.zeros_(last[1].weight)  # the block starts as the identity
        self.layers = nn.Sequential(layer(width, hidden, dilation=reach), last)

    def forward(self, x):
        return F.relu(x + self.layers(x))


def layer(inputs, outputs, kernel=3, stride=1, dilation=1):
    """A convolution, BatchNorm and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def save_network(network, path):
    """Write an .npz file, in half precision and without BatchNorm's counters, which only training needs."""
    state = {name: t.half() for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    save_weights(path, state)


def load_network(network, path):
    """Load what save_network wrote, on the CPU, for inference: BatchNorm is folded into the convolutions.

    Returns the network. Raises UserError if the file is missing or damaged, or holds another network's weights.
    """
    try:
        network.load_state_dict(load_weights(path))
    except RuntimeError as error:  # names or shapes differ
        raise UserError(f"{shown(path)} holds other weights than expected: replace it with a good copy") from error
    network.eval()
    for part in network.modules():
        if isinstance(part, nn.Sequential) and isinstance(part[1], nn.BatchNorm2d):
            part[0], part[1] = fuse_conv_bn_eval(part[0], part[1]), nn.Identity()
    return network.to(memory_format=torch.channels_last)


def load_finder():
    """The trained Finder, as load_network gives it."""
    return load_network(Finder(), WEIGHTS)


@dataclass
class Look:
    """What the finder sees in a picture at one scale.

    maps: float32 [6, rows, columns], the output of Finder, with the first two as probabilities. The middle of row r is
    at (2 r + 1 - PAD) / scale in the picture; columns likewise.
    """

    scale: float
    maps: np.ndarray
    pixels: torch.Tensor  # float32 [3, H, W] in [0, 1], what the finder was given


@torch.inference_mode()
def look(finder, picture, largest=3.0, smallest=0.0, large=LARGE):
    """Run the finder on a picture, uint8 array [height, width, 3], at scales a factor of √2 apart.

    largest, smallest: the scales allowed; large: once most digits are larger than this, in pixels, larger scales are
    skipped. Returns a list of Look, the smallest scale first.
    """
    height, width = picture.shape[:2]
    longer = max(height, width)
    scales = [min(largest, 1.0 if longer > 500 else 2.0 if longer > 60 else 3.0)]
    while round(height * scales[-1]) > 34 and scales[-1] / 2**0.5 >= smallest:  # no digit is taller than the picture
        scales.append(scales[-1] / 2**0.5)
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    looks = []
    for scale in reversed(scales):
        size = [max(8, round(side * scale)) for side in (height, width)]
        x = F.interpolate(pixels, size, mode="bicubic", antialias=True, align_corners=False).float() / 255
        right, bottom = (PAD + -side % 16 for side in (size[1], size[0]))
        x = F.pad(x, (PAD, right, PAD, bottom), mode="replicate").contiguous(memory_format=torch.channels_last)
        with autocast(CPU, best_precision(CPU)):
            maps = finder(x)[0][0].float()
        maps[:2] = maps[:2].sigmoid()
        looks.append(Look(scale, maps.numpy(), x[0]))
        centres = (maps[0] > DETECTED) & (maps[0] == F.max_pool2d(maps[:1], 3, 1, 1)[0])
        if centres.any():
            sure, sizes = maps[0][centres], maps[2:4].amax(0)[centres].exp()
            if sizes.quantile(0.25) > large and sure.median() > SURE:  # scaled down, a group may look like one digit
                break
    return looks
