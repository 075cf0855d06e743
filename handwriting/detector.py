"""The detector: one network in two stages that finds digits, and says what they are and which ink is theirs.

The first stage sees the whole picture: a heatmap of the digits' centres, with each digit's size at its centre
(Zhou et al., "Objects as Points", 2019). The second looks again at each candidate, at one size: at its pixels, and at
what the first stage saw there (Zhou et al., "Probabilistic two-stage detection", 2021). It says which digit it is,
written by hand or printed, or that it is none, at which angle it lies, and which ink is its own (He et al., "Mask
R-CNN", 2017).
training/ trains it on pages made of digits that people wrote.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from support.device import CPU, autocast, best_precision
from support.errors import UserError
from support.files import load_weights, shown

WEIGHTS = Path(__file__).parent / "detector.npz"
WIDTHS = (24, 48, 80, 128)  # channels of the first stage at strides 2, 4, 8, 16
CLOSE = (24, 64, 96)  # channels of the second stage at strides 2, 4, 8 of a patch
HEIGHT, WIDTH, SIZE = 48, 64, 24  # pixels: of a patch, and of the longer side of the digit in its middle
ANGLES = 24  # directions, 15° apart, that a digit may lie in; from upright on, clockwise
NONE = 20  # the class of what is no digit; 0 to 9 are written by hand, 10 to 19 printed
CANDIDATE = 0.1  # the first stage's confidence in a candidate, at the least
OVERLAP = 0.35  # of the smaller box: maximum overlap with a surer digit's box
BATCH_SIZE = 256  # patches; it has no effect on the result, only on memory
MOST = 1000  # maximum number of digits in a picture
PAD = 16  # pixels: padding around a picture, a copy of its outermost pixels
CLEAR, LARGE, SURE = 0.55, 28, 0.65  # if 3 of 4 candidates that are at least as sure as CLEAR are larger, in pixels,
# and half of them are surer than SURE, larger scales are skipped
FINE = 34  # pixels: the size at which a digit's ink is cut out, where there is such a look


class Detector(nn.Module):
    """Both stages: `forward` is the first, `look_again` the second, `mask` tells a digit's ink from everything else."""

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
        self.head = nn.Sequential(layer(a, a), nn.Conv2d(a, 3, 1))
        self.label = nn.Conv2d(b, 1 + NONE, 1)
        e, f, g = CLOSE
        self.fine = layer(3, e, 5, stride=2)
        self.middle = nn.Sequential(layer(e, f, stride=2), Context(f, f))
        self.coarse = layer(f, g, stride=2)
        self.seen = nn.Sequential(nn.Conv2d(b + c + d, g, 1, bias=False), nn.BatchNorm2d(g))
        self.both = nn.Sequential(Context(g, g), Context(g, g))
        self.answer = nn.Linear(g * HEIGHT * WIDTH // 64, NONE + 1 + ANGLES)
        self.to_fine = nn.ModuleList([nn.Conv2d(f, 16, 1), nn.Conv2d(g, 16, 1)])
        self.own = nn.Sequential(layer(e + 32, 32), nn.Conv2d(32, 8, 1), nn.PixelShuffle(2))
        # What the training fits at its end: the weights of both stages' logits, what is added to them, by what myCNN's
        # logits are divided, and the weight of the second stage's labels beside them.
        self.register_buffer("calibration", torch.tensor([0.5, 0.5, 0, 0.5, 1.5]))
        # The logarithm of the share of made digits that lie at each of the ANGLES: evidence of all digits of a page
        # is taken together, but that most pages are upright counts once.
        self.register_buffer("lying", torch.zeros(ANGLES))

    def forward(self, x):
        """The first stage. x: float [N, 3, H, W] in [0, 1], H and W multiples of 16.

        Returns maps, float [N, 3, H / 2, W / 2]: the logit of a digit's centre, and the logarithms of its width and its
        height in pixels; and its features, three float tensors at strides 4, 8 and 16, for look_again.
        """
        x = 2 * x - 1
        passed = []
        for down in self.down[:2]:
            passed.append(x := down(x))
        passed.append(x := self.near(self.down[2](x)))
        x = self.around(self.down[3](x))
        steps = [x]
        for side, up, earlier in zip(self.side, self.up, reversed(passed), strict=True):
            x = F.interpolate(side(x), scale_factor=2, mode="bilinear", align_corners=False)
            steps.append(x := up(x + earlier))
        return self.head(x), (steps[2], steps[1], steps[0])

    def look_again(self, patches, features):
        """The second stage. patches: as `cut` gives them; features: float [N, C, 6, 8], those of the first stage there.

        Returns logits, float [N, 21]: a written 0, ..., a printed 0, ..., none; the logits of the ANGLES at which it
        may lie, float [N, 24]; and what `mask` needs.
        """
        fine = self.fine(patches)
        middle = self.middle(fine)
        both = self.both(F.relu(self.coarse(middle) + self.seen(features)))
        answer = self.answer(both.flatten(1))
        return answer[:, : NONE + 1], answer[:, NONE + 1 :], (fine, middle, both)

    def mask(self, fine, middle, both):
        """Logits, float [N, 2, 48, 64], that pixels of a patch are ink of the digit in its middle, and of others."""
        parts = [fine]
        for to_fine, part in zip(self.to_fine, (middle, both), strict=True):
            parts.append(F.interpolate(to_fine(part), fine.shape[2:], mode="bilinear", align_corners=False))
        return self.own(torch.cat(parts, 1))


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


def windows(places, shape, points):
    """A grid, as F.grid_sample takes it, of points around places in pictures: float [N, K · rows, columns, 2].

    places: float [N, K, 3], x, y and size (the longer side) of K digits on each of N pictures, in pixels; shape: height
    and width of the pictures; points: rows and columns of the grid over one digit's patch.
    """
    number, each = places.shape[:2]
    sides = torch.tensor([shape[1], shape[0]], dtype=torch.float32, device=places.device)
    middles = 2 * places[..., :2] / sides - 1
    reach = places[..., 2:] / SIZE * torch.tensor([WIDTH, HEIGHT], device=places.device) / sides
    affine = torch.cat([torch.diag_embed(reach), middles[..., None]], -1).view(-1, 2, 3)
    grid = F.affine_grid(affine, [number * each, 1, *points], align_corners=False)
    return grid.view(number, each * points[0], points[1], 2)


def sampled(maps, grid, rows, mode="bilinear"):
    """What maps, float [N, C, H, W], hold at a grid's points, as windows gives it: float [N · K, C, rows, columns]."""
    found = F.grid_sample(maps.float(), grid, mode, "border", align_corners=False)
    return found.unflatten(2, (-1, rows)).transpose(1, 2).flatten(0, 1)


def cut(pixels, features, places):
    """What the second stage is given of the digits at places, as in windows: patches, and the first stage's features.

    pixels: float [N, 3, H, W]; features: as Detector.forward returns them. Returns float [N · K, 3, 48, 64], where each
    patch has mean 0 and standard deviation 1, and float [N · K, C, 6, 8].
    """
    shape = pixels.shape[2:]
    patches = sampled(pixels, windows(places, shape, (HEIGHT, WIDTH)), HEIGHT)
    spread, mean = torch.std_mean(patches, (1, 2, 3), keepdim=True)
    grid = windows(places, shape, (HEIGHT // 8, WIDTH // 8))
    seen = torch.cat([sampled(part, grid, HEIGHT // 8) for part in features], 1)
    return tuple(x.contiguous(memory_format=torch.channels_last) for x in ((patches - mean) / (spread + 0.02), seen))


def load_detector():
    """The trained Detector, on the CPU, for inference: BatchNorm is folded into the convolutions.

    Raises UserError if its file is missing or damaged, or holds something else.
    """
    detector = Detector().eval()
    try:
        detector.load_state_dict(load_weights(WEIGHTS))
    except RuntimeError as error:
        raise UserError(f"{shown(WEIGHTS)} holds other weights than the detector's: replace it") from error
    for part in detector.modules():
        if isinstance(part, nn.Sequential) and isinstance(part[1], nn.BatchNorm2d):
            part[0], part[1] = fuse_conv_bn_eval(part[0], part[1]), nn.Identity()
    return detector.to(memory_format=torch.channels_last)


@dataclass
class Look:
    """What the first stage sees in a picture at one scale: a point (x, y) of the picture is at x · scale + PAD."""

    scale: float
    pixels: torch.Tensor  # float32 [1, 3, H, W] in [0, 1], what it was given
    features: tuple

    def places(self, found):
        """Where Candidates are in it, as `windows` takes it."""
        x, y = (middle * self.scale + PAD for middle in (found.x, found.y))
        return torch.from_numpy(np.stack([x, y, found.size * self.scale], 1)).float()[None]


@dataclass
class Candidates:
    """What may be digits, in a picture: arrays [N]; places and sizes are in its pixels."""

    x: np.ndarray  # of the middle
    y: np.ndarray
    width: np.ndarray
    height: np.ndarray
    heat: np.ndarray  # the first stage's logit
    look: np.ndarray  # int: the index of the Look in which it was found

    def __len__(self):
        return len(self.x)

    def __getitem__(self, which):
        """Those that an index array selects."""
        return Candidates(*(getattr(self, field.name)[which] for field in fields(self)))

    @property
    def size(self):
        """The longer side of each."""
        return np.maximum(self.width, self.height)

    def apart(self, sure):
        """Non-maximum suppression: the indices of those that overlap no surer one, the surest first."""
        order = np.argsort(-sure, kind="stable")
        middle, size = np.stack([self.x, self.y], 1)[order], np.stack([self.width, self.height], 1)[order]
        low, high, area = middle - size / 2, middle + size / 2, size.prod(1)
        left, kept = np.ones(len(order), bool), []
        for n in range(len(order)):
            if left[n] and len(kept) < MOST:
                kept.append(n)
                shared = (np.minimum(high, high[n]) - np.maximum(low, low[n])).clip(0).prod(1)
                left &= shared <= OVERLAP * np.minimum(area, area[n])
        return order[np.array(kept, int)]


@dataclass
class Detection:
    """A digit that was detected."""

    sure: float  # the chance that it is a digit
    labels: np.ndarray  # [20]: if it is one, the log probability of each class
    own: np.ndarray  # float32 [96, 128] in [0, 1]: where in its patch its ink is
    others: np.ndarray  # where other digits' ink is
    patch: np.ndarray  # float32 [96, 128, 3] in [0, 1]: the colours there
    corner: tuple  # left and top of the patch, in the picture's pixels
    step: float  # a pixel of the patch, in the picture's pixels


@torch.inference_mode()
def detect(detector, picture, largest=3.0):
    """The first stage: what may be digits in a picture, uint8 array [height, width, 3]. Returns Looks and Candidates.

    It looks at scales a factor of √2 apart, the smallest first, up to `largest`, or up to the one at which most of the
    digits are large.
    """
    height, width = picture.shape[:2]
    longer = max(height, width)
    scales = [min(largest, 1.0 if longer > 500 else 2.0 if longer > 60 else 3.0)]
    while round(height * scales[-1]) > 34:  # no digit is taller than the picture
        scales.append(scales[-1] / 2**0.5)
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    looks, parts = [], []
    for scale in reversed(scales):
        size = [max(8, round(side * scale)) for side in (height, width)]
        x = F.interpolate(pixels, size, mode="bicubic", antialias=True, align_corners=False).float() / 255
        right, bottom = (PAD + -side % 16 for side in (size[1], size[0]))
        x = F.pad(x, (PAD, right, PAD, bottom), mode="replicate").contiguous(memory_format=torch.channels_last)
        with autocast(CPU, best_precision(CPU)):
            maps, features = detector(x)
        maps = maps[0].float()
        heat = maps[0]
        rows, columns = torch.nonzero((heat == F.max_pool2d(heat[None], 3, 1, 1)[0]) & (heat.sigmoid() > CANDIDATE)).T
        values = maps[:, rows, columns].double().numpy()
        x_, y_ = ((2 * place.numpy() + 1 - PAD) / scale for place in (columns, rows))
        sizes = np.exp(values[1:3]) / scale
        found = Candidates(x_, y_, *sizes, values[0], np.full(len(rows), len(looks)))
        parts.append(found[(x_ > 0) & (y_ > 0) & (x_ < width) & (y_ < height)])
        looks.append(Look(scale, x, features))
        sure = expit(found.heat)
        clear = sure > CLEAR
        if clear.any() and np.quantile(found.size[clear] * scale, 0.25) > LARGE and np.median(sure[clear]) > SURE:
            break  # enlarged, parts of a digit may look like digits
    found = Candidates(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Candidates)))
    return looks, found[np.argsort(-found.heat, kind="stable")[: 4 * MOST]]


@dataclass
class Opinion:
    """What the second stage says of Candidates: arrays [N, ...]."""

    odds: np.ndarray  # [N]: the logit that it is a digit
    labels: np.ndarray  # [N, 20]: if it is one, the log probability of each class
    angles: np.ndarray  # [N, 24]: if it is one, the log probability of each of the ANGLES at which it may lie


@torch.inference_mode()
def look_again(detector, looks, found):
    """The second stage's Opinion of Candidates."""
    logits, angles = np.zeros((len(found), NONE + 1)), np.zeros((len(found), ANGLES))
    for look, own in _by_look(looks, found):
        with autocast(CPU, best_precision(CPU)):
            answers, lies, _ = detector.look_again(*cut(look.pixels, look.features, look.places(found[own])))
        logits[own], angles[own] = answers.float(), lies.float().log_softmax(1)
    digits = np.logaddexp.reduce(logits[:, :NONE], axis=1)
    return Opinion(digits - logits[:, NONE], logits[:, :NONE] - digits[:, None], angles)


def confidence(detector, found, opinion):
    """The chance that each of the Candidates is a digit, by both stages."""
    heat, odds, more = detector.calibration[:3].tolist()
    return expit(heat * found.heat + odds * opinion.odds + more)


@torch.inference_mode()
def detections(detector, looks, found, opinion, least=0.5):
    """Of the Candidates, those that are digits, as a list of Detection, each with its ink.

    least: the chance that it is a digit from which a candidate is one.
    """
    sure = confidence(detector, found, opinion)
    chosen = np.flatnonzero(sure >= least)
    kept = chosen[found[chosen].apart(sure[chosen])]
    found = found[kept]
    # Ink is best seen where a digit is neither small nor larger than any that was learnt.
    scales = np.array([look.scale for look in looks])
    found.look = np.abs(np.log(found.size[:, None] * scales / FINE)).argmin(1)
    result = [None] * len(found)
    for look, own in _by_look(looks, found):
        places = look.places(found[own])
        with autocast(CPU, best_precision(CPU)):
            masks = detector.mask(*detector.look_again(*cut(look.pixels, look.features, places))[2])
        masks = F.interpolate(masks.float().sigmoid(), scale_factor=2, mode="bilinear", align_corners=False).numpy()
        patches = sampled(look.pixels, windows(places, look.pixels.shape[2:], (2 * HEIGHT, 2 * WIDTH)), 2 * HEIGHT)
        for n, mask, patch in zip(own, masks, patches.permute(0, 2, 3, 1).numpy(), strict=True):
            step = found.size[n] / SIZE / 2
            corner = found.x[n] - WIDTH * step, found.y[n] - HEIGHT * step
            result[n] = Detection(sure[kept[n]], opinion.labels[kept[n]], *mask, patch, corner, step)
    return result


def _by_look(looks, found):
    """Each Look with the indices of the Candidates in it, at most BATCH_SIZE at a time."""
    for number in np.unique(found.look):
        indices = np.flatnonzero(found.look == number)
        for own in np.split(indices, range(BATCH_SIZE, len(indices), BATCH_SIZE)):
            yield looks[number], own
