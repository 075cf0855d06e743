"""How the detector learns: what it should say of a made page, and the training loop."""

import json
import math
import os
import platform
from dataclasses import replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from handwriting.detector import ANGLES, HEIGHT, NONE, WIDTH, Detector, cut, sampled, windows
from handwriting.training.pages import CLEAN, KINDS, Page, make_page
from support.device import autocast, best_device, best_precision, memory_format
from support.files import atomic_write, save_weights, write_csv

STEPS = 20_000
BATCH_SIZE = 4  # pages: of 4,000 pages, batches of 4 teach more than of 8 (loss of the classes 0.96, 1.12)
SIDE = 256  # of a page, in pixels
LEARNING_RATE = 0.001  # of AdamW, after the warm-up
MUON = 0.004  # the learning rate of Muon, for convolutions. Of 2,400 pages, the loss of the centres and the classes is
# 1.60 and 1.04; with 0.002, 1.75 and 1.16; with AdamW for all weights, 2.24 and 1.20
WARM_UP, COOL_DOWN = 200, 0.3  # steps in which the learning rate rises; share of the steps in which it falls to 0
DECAY = 0.999  # a step, of the average of the weights: it finds more than the last weights do
SEED = 0
WORKERS = max(1, (os.cpu_count() or 1) - 1)  # processes that make pages
WEIGHT_DECAY = 0.01
CLIP = 10  # the gradient's norm, at the most
SAVED, TRIED = 100, 1000  # steps after which the state is saved, and after which held-out pages are read
TRIED_PAGES, TRIED_PLACES = 96, 96  # how many of them, and how many candidates of each

SIZES = (9, 46)  # pixels: the longer side of digits that it learns to find; others are found at another scale
READABLE = 9  # pixels: the longer side of digits that it learns to tell from each other
UPRIGHT = 20  # degrees: a digit that lies more is found, but not told from others
MASKS = 64  # digits of a batch whose ink the second stage learns to tell
MOST = 400  # digits of a page
FOUND, WRITTEN, ANYWHERE = 16, 12, 2  # places of a page that the second stage learns from: see candidates
WEIGHTS = {"centre": 1, "size": 0.5, "angle": 2, "ink": 4, "label": 0.5, "class": 2, "mask": 2}  # of the losses
CANDIDATE = 0.1  # the first stage's confidence in a candidate, at the least
SIZE, OFF, SEEN = (0.7, 1.45), 0.3, 0.7  # a candidate's size and distance, in the digit's size, and the digit's share


def digits_of(page):
    """The digits of a Page, float32 [MOST, 8]: x and y of the middle, width, height, class, number, cosine and sine.

    The class is -1 where it does not count, and -2 where there is no digit; the number is that in page.owner; cosine
    and sine are those of the angle at which it lies, and 0 where it can't be seen well.
    """
    digits, count = np.full((MOST, 8), -2, np.float32), 0
    for number, digit in enumerate(page.digits):
        left, top, right, bottom = digit.box
        if digit.seen < 0.3 or max(right - left, bottom - top) < SIZES[0] / 2 or count == MOST:
            continue
        lies, turn = abs((digit.angle + 180) % 360 - 180) > UPRIGHT, np.deg2rad(digit.angle)
        is_good = digit.seen > SEEN and digit.clear
        label = digit.label + 10 * digit.printed if is_good and not lies else -1
        place = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        digits[count] = *place, label, number, np.cos(turn) * is_good, np.sin(turn) * is_good
        count += 1
    return digits


def targets(page):
    """What the first stage should say of a Page of SIDE × SIDE pixels: float32 [6, SIDE / 2, SIDE / 2].

    Centres (1 in the middle, falling around), log width, log height; then where a centre counts, where sizes do, and
    the share of ink. Digits that are half seen or not clear, too small or too large count neither way.
    """
    maps = np.zeros((6, SIDE // 2, SIDE // 2), np.float32)
    maps[3] = 1
    rows, columns = np.mgrid[: SIDE // 2, : SIDE // 2].astype(np.float32)
    maps[5] = (page.owner >= 0).reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
    for digit in page.digits:
        left, top, right, bottom = digit.box
        width, height = right - left, bottom - top
        y, x = (top + bottom) / 4 - 0.5, (left + right) / 4 - 0.5
        if digit.seen < 0.3:
            continue
        size = max(height, width)
        down, across = (max(0.7, min(0.07 * size, 0.14 * side + 0.4)) for side in (height, width))
        window = tuple(
            slice(max(0, int(middle - 4 * spread)), max(0, int(middle + 4 * spread) + 2))
            for middle, spread in ((y, down), (x, across))
        )
        if digit.seen < 0.85 or not digit.clear or not SIZES[0] <= size <= SIZES[1]:
            maps[3][window] = 0
            continue
        near = np.exp(-((rows[window] - y) ** 2) / (2 * down**2) - (columns[window] - x) ** 2 / (2 * across**2))
        maps[0][window] = np.maximum(maps[0][window], near)
        if 0 <= round(y) < SIDE // 2 and 0 <= round(x) < SIDE // 2:
            maps[0][round(y), round(x)] = 1
        maps[1][window][near > 0.6], maps[2][window][near > 0.6] = np.log(width), np.log(height)
        maps[4][window][near > 0.6] = 1
    return maps


class Pages(torch.utils.data.Dataset):
    """Made pages: page i is always the same. Gives (uint8 photo, its targets, its digits, whose ink is where)."""

    def __init__(self, source, number, seed=SEED):
        self.source, self.number, self.seed = source, number, seed

    def __len__(self):
        return self.number

    def __getitem__(self, number):
        rng = np.random.default_rng([self.seed, number])
        kinds = KINDS if rng.random() < 0.5 else CLEAN
        page = self._padded(rng, make_page(rng, self.source, (SIDE, SIDE), kinds))
        return page.photo, targets(page), digits_of(page), np.int16(page.owner)

    def _padded(self, rng, page):
        """The page somewhere on one of SIDE × SIDE pixels, its border repeated all around, as detector.detect does."""
        height, width = page.photo.shape[:2]
        left, top = int(rng.integers(0, SIDE - width + 1)), int(rng.integers(0, SIDE - height + 1))
        around = (top, SIDE - height - top), (left, SIDE - width - left)
        digits = [replace(digit, box=tuple(np.add(digit.box, (left, top, left, top)))) for digit in page.digits]
        photo = np.pad(page.photo, (*around, (0, 0)), mode="edge")
        return Page(photo, digits, np.pad(page.owner, around, constant_values=-1))


def peaks(maps, most, chosen_at_random):
    """The local maxima of the first stage's centres: places [N, most, 3], as detector.windows takes them; and logits.

    Where there are fewer, the logit is -inf.
    """
    heat, shape = maps[:, 0], maps.shape[2:]
    is_peak = (heat == F.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]) & (heat.sigmoid() > CANDIDATE)
    order = torch.rand_like(heat) if chosen_at_random else heat.sigmoid()
    found = torch.where(is_peak, order, -1).flatten(1).topk(most)
    rows, columns = found.indices // shape[1], found.indices % shape[1]
    sizes = maps[:, 1:3].amax(1).flatten(1).gather(1, found.indices).clamp(1, 5).exp()
    logits = heat.flatten(1).gather(1, found.indices).masked_fill(found.values < 0, -torch.inf)
    return torch.stack([2 * columns + 1.0, 2 * rows + 1.0, sizes], -1), logits


def candidates(maps, digits):
    """The places that the second stage learns from, [N, 30, 3], and which of them are real.

    Some that the first stage found, some where digits are, and some anywhere: in the beginning, it finds nothing.
    """
    found, logits = peaks(maps, FOUND, chosen_at_random=True)
    there = digits[..., 4] > -2
    chosen = torch.where(there, torch.rand_like(digits[..., 4]), -1).topk(WRITTEN, 1)
    x, y, width, height = digits.gather(1, chosen.indices[..., None].expand(-1, -1, 8))[..., :4].unbind(-1)
    size = torch.maximum(width, height)
    off = [0.08 * size * torch.randn_like(size) for _ in range(2)]
    near = torch.stack([x + off[0], y + off[1], size * torch.exp(0.15 * torch.randn_like(size))], -1)
    near = torch.where(chosen.values[..., None] > 0, near, 1.0)
    anywhere = torch.rand(len(maps), ANYWHERE, 3, device=maps.device)
    anywhere = torch.cat([anywhere[..., :2] * SIDE, 10 * 4.5 ** anywhere[..., 2:]], -1)
    is_real = torch.cat([logits > -torch.inf, chosen.values > 0, torch.ones_like(anywhere[..., 0]) > 0], 1)
    return torch.cat([found, near, anywhere], 1), is_real


def truth(places, digits):
    """What candidates are: classes [N, K], -1 for what does not count; the digits' numbers [N, K], -1 for none; and the
    cosine and sine of their angles [N, K, 2], 0 where they don't count.
    """
    off = (places[:, :, None, :2] - digits[:, None, :, :2]).abs()
    sides = digits[:, None, :, 2:4]
    size = sides.amax(-1)
    inside = (off <= sides / 2 + 1).all(-1) & (digits[:, None, :, 4] > -2)
    ratio = places[:, :, None, 2] / size.clamp(min=1)
    far = off.amax(-1) / size.clamp(min=1)
    fits = inside & (far < OFF) & (ratio > SIZE[0]) & (ratio < SIZE[1])
    nearest = torch.where(fits, far, torch.inf).argmin(-1)
    label = digits[..., 4].long().gather(1, nearest)
    doubtful = (inside & (ratio > 0.5) & (ratio < 2)).any(-1)
    is_digit = fits.any(-1)
    number = torch.where(is_digit, digits[..., 5].long().gather(1, nearest), -1)
    turns = digits[..., 6:].gather(1, nearest[..., None].expand(-1, -1, 2)) * is_digit[..., None]
    return torch.where(is_digit, label, torch.where(doubtful, -1, NONE)), number, turns


def first_losses(maps, wanted):
    """The losses of the first stage: focal of the centres, and L1 of sizes."""
    centres, counts, sized = wanted[:, 0], wanted[:, 3], wanted[:, 4]
    found = torch.sigmoid(maps[:, 0]).clamp(1e-4, 1 - 1e-4)
    is_centre = (centres == 1) * counts
    hits = is_centre * (1 - found) ** 2 * found.log()
    others = (1 - is_centre) * counts * (1 - centres) ** 4 * found**2 * (1 - found).log()
    focal = -(hits + others).sum() / is_centre.sum().clamp(min=1)
    sizes = ((maps[:, 1:] - wanted[:, 1:3]).abs().sum(1) * sized).sum() / sized.sum().clamp(min=1)
    return {"centre": focal, "size": sizes}


def ink_losses(maps, wanted, digits, owner):
    """The loss of ink and labels by the first stage, at stride 4, which only training uses."""
    ink = F.avg_pool2d(wanted[:, 5:], 2)[:, 0]
    whose = owner[:, ::4, ::4].long().flatten(1) + 1
    numbers = (digits[..., 5].long() + 1).clamp(min=0)
    classes = torch.full((len(owner), max(whose.max(), numbers.max()) + 1), -1, device=owner.device)
    classes.scatter_(1, numbers, digits[..., 4].long().clamp(min=-1))
    classes[:, 0] = -1
    own = classes.gather(1, whose).unflatten(1, (maps.shape[2], -1))
    label = F.cross_entropy(maps[:, 1:], own, ignore_index=-1, reduction="sum") / (own >= 0).sum().clamp(min=1)
    return {"ink": F.binary_cross_entropy_with_logits(maps[:, 0], ink), "label": label}


def losses(detector, photos, wanted, digits, owner, precision):
    """All losses of a batch of pages, as Pages gives them: a dict of tensors."""
    pixels = photos.permute(0, 3, 1, 2).float().div(255).contiguous(memory_format=torch.channels_last)
    with autocast(pixels.device, precision):
        maps, features = detector(pixels)
        ink = detector.label(features[0]).float()
    maps = maps.float()
    result = first_losses(maps, wanted) | ink_losses(ink, wanted, digits, owner)
    with torch.no_grad():
        places, is_real = candidates(maps, digits)
        is_real = is_real.flatten()
        answers, number, turns = (part.flatten(0, 1)[is_real] for part in truth(places, digits))
        has_ink = torch.nonzero(number >= 0)[:, 0]
        has_ink = has_ink[torch.randperm(len(has_ink))[:MASKS]]
        grid = windows(places, photos.shape[1:3], (HEIGHT, WIDTH))
        whose = sampled(owner[:, None].float(), grid, HEIGHT, "nearest")[is_real][has_ink, 0]
        own = whose == number[has_ink, None, None]
        ink = torch.stack([own, (whose >= 0) & ~own], 1).float()
    patches, seen = (part[is_real] for part in cut(pixels, features, places))
    with autocast(pixels.device, precision):
        logits, turned, parts = detector.look_again(patches, seen)
        masks = detector.mask(*(part[has_ink] for part in parts)).float()
    result["angle"] = angle_loss(turned.float(), turns)
    result["class"] = F.cross_entropy(logits.float(), answers, ignore_index=-1)
    result["mask"] = F.binary_cross_entropy_with_logits(masks, ink) if len(ink) else masks.sum()
    return result


def angle_loss(logits, turns):
    """Cross-entropy of the ANGLES, float [N, 24], and the angles of `truth`, [N, 2]: each is shared by its neighbours.

    A digit that looks the same when turned, as 0, 1 and 8 do, may lie in several: a mean of the angles would say less.
    """
    turns, logits = turns[counts := turns.norm(dim=1) > 0], logits.log_softmax(1)[counts]
    places = torch.atan2(turns[:, 1], turns[:, 0]) * ANGLES / (2 * math.pi)
    below = places.floor()
    low, high = (logits.gather(1, (below + more).long()[:, None] % ANGLES)[:, 0] for more in (0, 1))
    return -torch.lerp(low, high, places - below).sum() / counts.sum().clamp(min=1)


def schedule(step, steps):
    """The learning rate of a step, as a share of LEARNING_RATE: up, level, and down to 0."""
    return min(1, (step + 1) / WARM_UP, (steps - step) / (COOL_DOWN * steps))


@torch.inference_mode()
def tried(detector, batches, device, precision):
    """How well the detector reads batches of made pages, as Pages gives them: a dict of shares from 0 to 1.

    Recall and precision of digits that are neither too small nor too large; and of what is found and is a digit, how
    much has the right label, and is said to be of the right kind; and of the digits that lie, of how many the angle is
    seen, within UPRIGHT.
    """
    detector.eval()
    there, hit, found, right, labels, kinds, lying, angles = torch.zeros(8, dtype=torch.long)
    for photos, _, digits, _ in batches:
        photos, digits = photos.to(device), digits.to(device)
        pixels = photos.permute(0, 3, 1, 2).float().div(255).contiguous(memory_format=torch.channels_last)
        with autocast(device, precision):
            maps, features = detector(pixels)
        maps = maps.float()
        places, heat = peaks(maps, TRIED_PLACES, chosen_at_random=False)
        with autocast(device, precision):
            logits, turned, _ = detector.look_again(*cut(pixels, features, places))
        logits, turned = (part.float().view(*heat.shape, -1) for part in (logits, turned))
        classes, number, turns = truth(places, digits)
        said = (heat + logits[..., :NONE].logsumexp(-1) - logits[..., NONE] > 0) & (classes >= 0)
        is_right, best = said & (classes < NONE), logits[..., :NONE].argmax(-1)
        sizes = digits[..., 2:4].amax(-1)
        counted = (digits[..., 4] >= 0) & (sizes >= SIZES[0]) & (sizes <= SIZES[1])
        there += counted.sum()
        hit += (((number[..., None] == digits[:, None, :, 5]) & is_right[..., None]).any(1) & counted).sum()
        found += said.sum()
        right += is_right.sum()
        labels += (is_right & (best % 10 == classes % 10)).sum()
        kinds += (is_right & (best // 10 == classes // 10)).sum()
        lie = (turns.norm(dim=-1) > 0) & (classes < 0)  # those that lie are the ones without a class
        lying += lie.sum()
        likely = turned.argmax(-1) * (2 * math.pi / ANGLES)
        near = (torch.stack([likely.cos(), likely.sin()], -1) * turns).sum(-1) > math.cos(math.radians(UPRIGHT))
        angles += (lie & near).sum()
    detector.train()
    parts = {"recall": (hit, there), "precision": (right, found), "labels": (labels, right), "kinds": (kinds, right)}
    parts["angles"] = angles, lying
    return {name: (part / whole.clamp(min=1)).item() for name, (part, whole) in parts.items()}


def _even(module, inputs, output):
    """A hook that gives a ReLU's gradient the memory layout of its output: where they differ, a step takes longer."""
    if output.requires_grad:
        output.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))


@torch.no_grad()
def _averaged(averages, weights, number):
    """Update the running average of all weights; in the beginning it forgets faster, so that it forgets the start."""
    decay = min(DECAY, (1 + int(number)) / (10 + int(number)))
    for average, weight in zip(averages, weights, strict=True):
        average.copy_(decay * average + (1 - decay) * weight)


def learn(source, held_out, state_file, steps=STEPS, workers=WORKERS):
    """Train a Detector from nothing, or from where it was stopped. Returns it with the average of its weights.

    source, held_out: sources.Source, to learn from, and to see how well it does. state_file: the path of all that is
    needed to resume, saved every few minutes; beside it, the log (.csv) and the settings (.json) are written.
    """
    cv2.setNumThreads(0)
    device = best_device()
    precision, layout = best_precision(device), memory_format(device)
    torch.manual_seed(SEED)
    detector = Detector().to(device, memory_format=layout)
    nn.init.constant_(detector.head[-1].bias[:1], -4)  # centres are rare
    for part in detector.modules():
        if isinstance(part, nn.ReLU):
            part.register_forward_hook(_even)
    average = AveragedModel(detector, multi_avg_fn=_averaged, use_buffers=True)
    hidden = [part.weight for part in detector.modules() if isinstance(part, nn.Conv2d) and part.bias is None]
    others = [weight for weight in detector.parameters() if all(weight is not each for each in hidden)]
    matrices = [nn.Parameter(torch.empty_like(weight).flatten(1)) for weight in hidden]  # Muon takes no others
    adam = torch.optim.AdamW(others, LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    muon = torch.optim.Muon(matrices, MUON, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw")
    parts, step, log = {"detector": detector, "average": average, "adam": adam, "muon": muon}, 0, []
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        step, log = state["step"], state["log"]
    for weight, matrix in zip(hidden, matrices, strict=True):
        matrix.data = weight.detach().flatten(1).clone()
    pages = Pages(source, steps * BATCH_SIZE)
    left = torch.utils.data.Subset(pages, range(step * BATCH_SIZE, len(pages)))
    loader = torch.utils.data.DataLoader(left, BATCH_SIZE, num_workers=workers, prefetch_factor=6 if workers else None)
    trial = list(torch.utils.data.DataLoader(Pages(held_out, TRIED_PAGES, SEED + 1), BATCH_SIZE))
    sums = {}
    detector.train()
    for batch in tqdm(loader, initial=step, total=steps, unit=" steps", disable=None):
        torch.manual_seed(SEED + step)
        adam.param_groups[0]["lr"], muon.param_groups[0]["lr"] = (
            rate * schedule(step, steps) for rate in (LEARNING_RATE, MUON)
        )
        result = losses(detector, *(part.to(device) for part in batch), precision)
        detector.zero_grad()
        sum(WEIGHTS[name] * part for name, part in result.items()).backward()
        nn.utils.clip_grad_norm_(others, CLIP)
        for weight, matrix in zip(hidden, matrices, strict=True):
            matrix.grad = weight.grad.flatten(1)
        adam.step()
        muon.step()
        for weight, matrix in zip(hidden, matrices, strict=True):
            weight.data.copy_(matrix.view_as(weight))
        average.update_parameters(detector)
        step += 1
        for name, part in result.items():
            sums[name] = sums.get(name, 0) + part.item() / SAVED
        if step % SAVED and step < steps:
            continue
        row, sums = {"step": step} | sums, {}
        if step % TRIED == 0 or step == steps:
            row |= tried(average.module, trial, device, precision)
        log.append(row)
        with atomic_write(state_file) as file:
            torch.save({name: part.state_dict() for name, part in parts.items()} | {"step": step, "log": log}, file)
        _write_log(state_file, log)
    return average.module


def save_network(network, path):
    """Write an .npz file, in half precision and without BatchNorm's counters, which only training needs."""
    state = {name: t.half() for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    save_weights(path, state)


def _write_log(state_file, log):
    """Write the log of a training, and what it is trained with, beside its state."""
    names = list(dict.fromkeys(name for row in log for name in row))
    rows = [[f"{row[name]:.6g}" if name in row else "" for name in names] for row in log]
    write_csv(state_file.with_suffix(".csv"), names, rows)
    settings = {name: value for name, value in globals().items() if name.isupper() and len(name) > 1}
    settings |= {
        "kinds": KINDS,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cv2": cv2.__version__,
    }
    with atomic_write(state_file.with_suffix(".json")) as file:
        file.write(json.dumps(settings, indent=2).encode())
