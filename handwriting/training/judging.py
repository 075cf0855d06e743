"""How the judge learns: the finder's candidates on made pages, what they are, and the training loop."""

import os
from dataclasses import replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from handwriting.finder import load_finder, look, save_network
from handwriting.judge import HEIGHT, WEIGHTS, WIDTH, Judge, normalised, patches_of
from handwriting.lines import candidates
from handwriting.training.learning import DECAY
from handwriting.training.pages import CLEAN, KINDS, Page, make_page
from handwriting.training.sources import training_source
from support.device import autocast, best_device, best_precision, memory_format

SHAPE = 256, 384  # pixels: height and width of the pages
LARGEST = 3.0, 1.4, 1.0, 0.7  # finder.look's largest scale: one of these
MOST = 60  # candidates of a page
FEW = 8  # candidates: a page of fewer counts for more than its share, one of more for less
SMALL = 0.4  # share of the pages that are small pictures: each has few candidates
LYING = 0.12  # share of the pages that lie on a side or upside down
SIZE, OFF, SEEN = (0.7, 1.45), 0.3, 0.7  # a candidate's size and distance, in the digit's size, and the digit's share
STEPS, BATCH_SIZE = 10_000, 256  # patches a step
POOL, REPEATS = 100_000, 3  # patches that are kept to be drawn from; how often each is drawn on average
LEARNING_RATE, WARM_UP = 0.002, 0.01  # of AdamW, at its peak; of the steps
INVERTED, GREY, NOISY = 0.15, 0.2, 0.5  # shares of the patches
NOISE = 0.25  # at the most, in a patch's standard deviations
SCALED = 0.2  # logarithm: by how much a patch is enlarged or reduced at the most
STRETCH, SHEAR, TURN, MOVE = 0.05, 0.08, 0.07, 1.2  # standard deviations: logarithm, columns a row, radians, pixels
SEED = 0


def truth(page, found):
    """What the candidates on a Page are: int64 [N], 0 to 9 for a digit, 10 for none, -1 for what does not count."""
    answers = np.full(len(found), 10)
    for digit in page.digits:
        left, top, right, bottom = digit.box
        size = max(bottom - top, right - left)
        down, across = np.abs(found.row - (top + bottom) / 2), np.abs(found.column - (left + right) / 2)
        inside = (down <= (bottom - top) / 2 + 1) & (across <= (right - left) / 2 + 1)
        ratio = found.size / size
        is_digit = inside & (np.maximum(down, across) < OFF * size) & (ratio > SIZE[0]) & (ratio < SIZE[1])
        if digit.seen > SEEN and digit.clear:
            answers[is_digit] = digit.label
            answers[inside & (answers == 10) & (ratio > 0.5) & (ratio < 2)] = -1
        elif digit.seen > 0.3:
            answers[inside & (answers == 10)] = -1
    return answers


def lying(page, quarters):
    """A Page turned anticlockwise by 90, 180 or 270 degrees: what is no digit any more has the label 10."""
    photo, digits = np.rot90(page.photo, quarters), page.digits
    still = (0, 1, 6, 8, 9) if quarters == 2 else (0,)  # these may still be digits, and count neither way
    digits = [replace(digit, label=10, clear=digit.clear and digit.label not in still) for digit in digits]
    for turn in range(quarters):
        width = page.photo.shape[1 - turn % 2]
        boxes = [(top, width - right, bottom, width - left) for left, top, right, bottom in (d.box for d in digits)]
        digits = [replace(digit, box=box) for digit, box in zip(digits, boxes, strict=True)]
    return Page(np.ascontiguousarray(photo), digits, np.rot90(page.owner, quarters))


class Candidates(torch.utils.data.Dataset):
    """The finder's candidates on made pages; page i is always the same. Gives patches, float16, and their truth."""

    def __init__(self, finder, source):
        self.finder, self.source = finder, source

    def __len__(self):
        return STEPS * BATCH_SIZE // REPEATS  # more than are needed

    def __getitem__(self, number):
        rng = np.random.default_rng([SEED, number])
        kinds = KINDS if rng.random() < 0.5 else CLEAN
        if rng.random() < SMALL:
            kinds = kinds | {"small": 0.8, "ones": 0.35}
        page = make_page(rng, self.source, SHAPE, kinds)
        if rng.random() < LYING:
            page = lying(page, rng.integers(1, 4))
        looks = look(self.finder, page.photo, rng.choice(LARGEST))
        found = candidates(page.photo.shape, looks)
        found = found[rng.permutation(len(found))[:MOST]]
        answers = truth(page, found)
        patches = torch.zeros(len(found), 3, HEIGHT, WIDTH, dtype=torch.float16)
        for which in np.unique(found.look):
            own = found.look == which
            patches[own] = patches_of(looks[which], found.row[own], found.column[own], found.size[own]).half()
        return patches[answers >= 0], torch.from_numpy(answers[answers >= 0])


def varied(patches):
    """Patches, float [N, 3, 48, 96], each changed at random in size, place, slant, colour and noise.

    Each patch is drawn several times. Unchanged, they were learnt by heart: the loss on them fell to half of that on
    new pages. All have mean 0 and standard deviation 1, as from patches_of.
    """
    number = len(patches)
    enlarged = torch.exp(torch.empty(number).uniform_(-SCALED, SCALED))
    stretch, turn = torch.exp(STRETCH * torch.randn(number)), TURN * torch.randn(number)
    moved = MOVE * torch.randn(2, number) / torch.tensor([[WIDTH / 2], [HEIGHT / 2]])
    ratio = HEIGHT / WIDTH
    right = torch.stack([turn.cos() * stretch, (SHEAR * torch.randn(number) - turn.sin()) * ratio], 1)
    down = torch.stack([turn.sin() / ratio, turn.cos() / stretch], 1)
    places = torch.cat([enlarged[:, None, None] * torch.stack([right, down], 1), moved.T[..., None]], 2)
    grid = F.affine_grid(places, patches.shape, align_corners=False)
    x = F.grid_sample(patches, grid, padding_mode="border", align_corners=False)
    x = torch.where(torch.rand(number, 1, 1, 1) < GREY, x.mean(1, keepdim=True), x)
    x = x * torch.where(torch.rand(number, 1, 1, 1) < INVERTED, -1, 1)
    strength = NOISE * torch.rand(number, 1, 1, 1) * (torch.rand(number, 1, 1, 1) < NOISY)
    return normalised(x + strength * torch.randn_like(x))


def learn():
    """Train the Judge from scratch on what the Finder finds, and write its weights.

    Raises UserError where the fonts, the drawn letters or the finder's weights are missing.
    """
    source = training_source()
    cv2.setNumThreads(0)
    device = best_device()
    precision, layout = best_precision(device), memory_format(device)
    torch.manual_seed(SEED)
    judge = Judge().to(device, memory_format=layout)
    average = AveragedModel(judge, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=True)
    optimizer = torch.optim.AdamW(judge.parameters(), LEARNING_RATE, weight_decay=0.03, fused=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, STEPS, pct_start=WARM_UP)
    pages = Candidates(load_finder(), source)
    workers = max(1, os.cpu_count() - 1)
    loader = iter(torch.utils.data.DataLoader(pages, None, num_workers=workers, prefetch_factor=64))
    pool = torch.zeros(POOL, 3, HEIGHT, WIDTH, dtype=torch.float16)
    answers, weights = torch.zeros(POOL, dtype=torch.long), torch.zeros(POOL)
    seen = 0
    for step in (bar := tqdm(range(STEPS), unit=" steps")):
        while seen * REPEATS < (step + 20) * BATCH_SIZE:
            patches, answer = next(loader)
            places = torch.arange(seen, seen + len(answer)) % POOL
            pool[places], answers[places] = patches, answer
            weights[places] = np.clip((FEW / max(1, len(answer))) ** 0.5, 0.4, 2)
            seen += len(answer)
        batch = torch.randint(min(seen, POOL), (BATCH_SIZE,))
        x = varied(pool[batch].float())
        with autocast(device, precision):
            logits = judge(x.to(device).contiguous(memory_format=layout))
        losses = F.cross_entropy(logits.float(), answers[batch].to(device), reduction="none")
        loss = (losses * weights[batch].to(device)).sum() / weights[batch].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        average.update_parameters(judge)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.2f}", refresh=False)
    save_network(average.module, WEIGHTS)
