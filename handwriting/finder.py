"""The finder: a small network that sees where digits are on a picture, and which ink is whose.

training/ trains it on pages made of MNIST's training digits. After Zhou et al., "Objects as Points", 2019 (a map of
centres, and sizes read off there), with a vote of each pixel for its digit's centre as in Cheng et al.,
"Panoptic-DeepLab", 2020.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from support import weights

WEIGHTS = Path(__file__).parent / "finder.npz"
WIDTHS = (24, 48, 80, 128)  # at strides 2, 4, 8, 16
UNIT = 16  # pixels: of the votes
PAD = 16  # pixels: by which a picture's border is repeated around it
CERTAIN = 0.55  # how sure the finder has to be of a digit anywhere
LARGE, SURE = 28, 0.65  # pixels: where three digits of four are larger, and half surer, no larger scale is looked at


class Finder(nn.Module):
    """Pictures, float [N, 3, H, W] in [0, 1] -> float [N, 6, H / 2, W / 2] and [N, 10, H / 4, W / 4].

    H and W are multiples of 16. The six maps: the logit of a digit's centre, the logit of its ink, the logarithms of
    its height and its width in pixels, and the way from here to the centre, down and to the right, in units of 16
    pixels. The ten: the logits of which digit's ink this is. Only training uses them: to tell digits from each other is
    to know them from letters.
    """

    def __init__(self):
        super().__init__()
        a, b, c, d = WIDTHS
        self.down = nn.ModuleList(
            [
                nn.Sequential(_layer(3, a, 5, stride=2), _layer(a, a)),
                nn.Sequential(_layer(a, b, stride=2), _layer(b, b)),
                nn.Sequential(_layer(b, c, stride=2), _layer(c, c)),
                nn.Sequential(_layer(c, d, stride=2), _layer(d, d, dilation=2), _layer(d, d, dilation=4), _layer(d, d)),
            ]
        )
        self.near, self.around = _Context(c, 96), nn.Sequential(*(_Context(d, 144, reach) for reach in (1, 2, 4)))
        self.side = nn.ModuleList([nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1), nn.Conv2d(b, a, 1)])
        self.up = nn.ModuleList([_layer(c, c), _layer(b, b), _layer(a, a)])
        self.head = nn.Sequential(_layer(a, a), nn.Conv2d(a, 6, 1))
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


class _Context(nn.Module):
    """Adds what stands around a place to what is known of it: text is told from digits by its neighbours."""

    def __init__(self, width, hidden, reach=1):
        super().__init__()
        last = nn.Sequential(nn.Conv2d(hidden, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        nn.init.zeros_(last[1].weight)  # at first it adds nothing
        self.layers = nn.Sequential(_layer(width, hidden, dilation=reach), last)

    def forward(self, x):
        return F.relu(x + self.layers(x))


def _layer(inputs, outputs, kernel=3, stride=1, dilation=1):
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def save_weights(finder):
    """Write finder.npz, in half precision and without BatchNorm's counters, which only training needs."""
    state = {name: t.half() for name, t in finder.state_dict().items() if not name.endswith("num_batches_tracked")}
    weights.save_weights(WEIGHTS, state)


def load_finder():
    """The trained Finder of finder.npz, on the CPU, only to be used: its BatchNorm is folded into its convolutions.

    Raises UserError where finder.npz is missing or damaged.
    """
    finder = Finder()
    finder.load_state_dict(weights.load_weights(WEIGHTS))
    finder.eval()
    for layer in finder.modules():
        if isinstance(layer, nn.Sequential) and isinstance(layer[1], nn.BatchNorm2d):
            layer[0], layer[1] = fuse_conv_bn_eval(layer[0], layer[1]), nn.Identity()
    return finder.to(memory_format=torch.channels_last)


@dataclass
class Look:
    """What the finder sees on a picture at one scale.

    maps: float32 [6, rows, columns] as Finder gives it, the first two as probabilities; the middle of row r lies at
    (2 r + 1 - PAD) / scale in the picture, and so do columns.
    """

    scale: float
    maps: np.ndarray


@torch.inference_mode()
def look(finder, picture, largest=3.0, large=LARGE):
    """What the finder sees on a picture, uint8 array [height, width, 3], at scales a factor of √2 apart.

    largest: a scale that is not exceeded; large: the size in pixels, at a scale, of digits that need no larger scale.
    Returns a list of Look, the smallest scale first and the last one that at which digits are large.
    """
    height, width = picture.shape[:2]
    longer = max(height, width)
    scales = [min(largest, 1.0 if longer > 500 else 2.0 if longer > 60 else 3.0)]
    while round(height * scales[-1]) > 34:  # no digit is higher than the picture
        scales.append(scales[-1] / 2**0.5)
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    looks = []
    for scale in reversed(scales):
        size = [max(8, round(side * scale)) for side in (height, width)]
        x = F.interpolate(pixels, size, mode="bicubic", antialias=True, align_corners=False).float() / 255
        right, bottom = (PAD + -side % 16 for side in (size[1], size[0]))
        x = F.pad(x, (PAD, right, PAD, bottom), mode="replicate").contiguous(memory_format=torch.channels_last)
        maps = finder(x)[0][0]
        maps[:2] = maps[:2].sigmoid()
        looks.append(Look(scale, maps.numpy()))
        centres = (maps[0] > CERTAIN) & (maps[0] == F.max_pool2d(maps[:1], 3, 1, 1)[0])
        if centres.any():
            sure, sizes = maps[0][centres], maps[2:4].amax(0)[centres].exp()
            if sizes.quantile(0.25) > large and sure.median() > SURE:  # from afar, a group may look like a large digit
                break
    return looks
