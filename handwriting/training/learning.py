"""How the finder learns: pages of MNIST's training digits, what it should say of them, and the training loop."""

import os
from dataclasses import replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from handwriting.finder import UNIT, WEIGHTS, Finder, save_network
from handwriting.training.pages import CLEAN, KINDS, Page, make_page
from handwriting.training.sources import training_source
from support.device import autocast, best_device, best_precision, memory_format
from support.files import load_weights

READABLE = 9  # pixels: the longer side of digits that it learns to tell from each other
SIZES = (12, 46)  # pixels: the longer side of digits that it learns to find; others are found at another scale
STEPS = 4_000
BATCH_SIZE = 16  # pages
SIDE = 256  # of a page, in pixels
LEARNING_RATE = 0.002  # of AdamW, at its peak
WARM_UP = 0.05  # of the steps
DECAY = 0.998  # a step, of the average of the weights: it finds more than the last weights do
SEED = 0


def targets(page):
    """What the finder should say of a Page, padded to SIDE: float32 [9, SIDE / 2, SIDE / 2].

    Centres (1 in the middle, falling around), ink, log height, log width, the votes down and right; then where a
    centre counts, where sizes do, and the label of the digit whose ink is here, or -1. Digits that are half seen or
    not clear, too small or too large count neither way.
    """
    maps = np.zeros((9, SIDE // 2, SIDE // 2), np.float32)
    maps[6], maps[8] = 1, -1
    rows, columns = np.mgrid[: SIDE // 2, : SIDE // 2].astype(np.float32)
    owner = page.owner.reshape(SIDE // 2, 2, SIDE // 2, 2).max((1, 3))
    maps[1] = (page.owner >= 0).reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
    for number, digit in enumerate(page.digits):
        left, top, right, bottom = digit.box
        height, width = bottom - top, right - left
        y, x = (top + bottom) / 4 - 0.5, (left + right) / 4 - 0.5
        own = owner == number
        maps[4][own], maps[5][own] = (y - rows[own]) * 2 / UNIT, (x - columns[own]) * 2 / UNIT
        if digit.seen > 0.7 and digit.clear and max(height, width) >= READABLE:
            maps[8][own] = digit.label
        if digit.seen < 0.4:
            continue
        size = max(height, width)
        down, across = max(0.7, 0.07 * size), max(0.7, min(0.07 * size, 0.14 * width + 0.4))
        window = tuple(
            slice(max(0, int(middle - 4 * spread)), max(0, int(middle + 4 * spread) + 2))
            for middle, spread in ((y, down), (x, across))
        )
        if digit.seen < 0.85 or not digit.clear or not SIZES[0] <= size <= SIZES[1]:
            maps[6][window] = 0
            continue
        near = np.exp(-((rows[window] - y) ** 2) / (2 * down**2) - (columns[window] - x) ** 2 / (2 * across**2))
        maps[0][window] = np.maximum(maps[0][window], near)
        if 0 <= round(y) < SIDE // 2 and 0 <= round(x) < SIDE // 2:
            maps[0][round(y), round(x)] = 1
        maps[2][window][near > 0.6], maps[3][window][near > 0.6] = np.log(height), np.log(width)
        maps[7][window][near > 0.6] = 1
    return maps


class Pages(torch.utils.data.Dataset):
    """The pages that the finder learns from: page i is always the same. Gives (uint8 photo, its targets)."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return STEPS * BATCH_SIZE

    def __getitem__(self, number):
        rng = np.random.default_rng([SEED, number])
        kinds = KINDS if rng.random() < 0.5 else CLEAN
        page = self._padded(rng, make_page(rng, self.source, (SIDE, SIDE), kinds))
        return torch.from_numpy(page.photo), torch.from_numpy(targets(page))

    def _padded(self, rng, page):
        """The page somewhere on one of SIDE × SIDE pixels, its border repeated all around, as finder.look does."""
        height, width = page.photo.shape[:2]
        top, left = int(rng.integers(0, SIDE - height + 1)), int(rng.integers(0, SIDE - width + 1))
        around = (top, SIDE - height - top), (left, SIDE - width - left)
        digits = [replace(digit, box=tuple(np.add(digit.box, (left, top, left, top)))) for digit in page.digits]
        photo = np.pad(page.photo, (*around, (0, 0)), mode="edge")
        return Page(photo, digits, np.pad(page.owner, around, constant_values=-1))


def loss_function(maps, labels, wanted):
    """The sum of five losses: focal of the centres, cross-entropy of ink and labels, and L1 of sizes and votes."""
    centres, ink, sizes, votes = wanted[:, 0], wanted[:, 1], wanted[:, 2:4], wanted[:, 4:6]
    counts, sized = wanted[:, 6], wanted[:, 7]
    found = torch.sigmoid(maps[:, 0]).clamp(1e-4, 1 - 1e-4)
    is_centre = (centres == 1) * counts
    hits = is_centre * (1 - found) ** 2 * found.log()
    others = (1 - is_centre) * counts * (1 - centres) ** 4 * found**2 * (1 - found).log()
    focal = -(hits + others).sum() / is_centre.sum().clamp(min=1)
    cross_entropy = F.binary_cross_entropy_with_logits(maps[:, 1], ink)
    size_error = ((maps[:, 2:4] - sizes).abs().sum(1) * sized).sum() / sized.sum().clamp(min=1)
    voting = (ink > 0).float()
    vote_error = ((maps[:, 4:6] - votes).abs().sum(1) * voting).sum() / voting.sum().clamp(min=1)
    whose = wanted[:, 8, ::2, ::2].long()
    label_error = F.cross_entropy(labels, whose, ignore_index=-1, reduction="sum") / (whose >= 0).sum().clamp(min=1)
    return focal + 0.5 * label_error + 8 * cross_entropy + 0.5 * size_error + vote_error


def learn():
    """Train the Finder, further if it has weights already, and write its weights.

    Raises UserError where the fonts or the drawn letters are missing.
    """
    source = training_source()
    cv2.setNumThreads(0)
    device = best_device()
    precision = best_precision(device)
    torch.manual_seed(SEED)
    layout = memory_format(device)
    finder = Finder().to(device, memory_format=layout)
    if WEIGHTS.exists():
        finder.load_state_dict(load_weights(WEIGHTS))
    else:
        nn.init.constant_(finder.head[-1].bias[:1], -4)  # centres are rare
    average = AveragedModel(finder, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=True)
    optimizer = torch.optim.AdamW(finder.parameters(), LEARNING_RATE, weight_decay=1e-4, fused=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, STEPS, pct_start=WARM_UP)
    pages = Pages(source)
    workers = max(1, os.cpu_count() - 1)
    loader = torch.utils.data.DataLoader(pages, BATCH_SIZE, num_workers=workers, prefetch_factor=8)
    for step, (photos, wanted) in enumerate(bar := tqdm(loader, unit=" steps")):
        photos, wanted = photos.to(device), wanted.to(device)
        x = photos.permute(0, 3, 1, 2).float().div(255).contiguous(memory_format=layout)
        with autocast(device, precision):
            maps, labels = finder(x)
        loss = loss_function(maps.float(), labels.float(), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        average.update_parameters(finder)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.2f}", refresh=False)
    save_network(average.module, WEIGHTS)
