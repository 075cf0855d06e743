"""How the judge learns: what the finder takes for digits on made pages, and whether it is one."""

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from handwriting.finder import load_finder, look
from handwriting.judge import Judge, patches_of, save_judge
from handwriting.lines import centres
from handwriting.training.pages import make_page

PAGES, SHAPES = 1000, ((256, 384), (520, 640))  # how many, and their heights and widths in pixels
MOST = 70  # candidates of a page
EPOCHS, BATCH_SIZE = 8, 128
LEARNING_RATE, WEIGHT_DECAY = 0.003, 0.01  # of AdamW, the first at its peak
UNSEEN = 0.1  # how often the finder's maps are hidden, so that the judge looks at the picture too
SIZE, OFF, SEEN = (0.7, 1.45), 0.3, 0.7  # a candidate's size and distance, in the digit's size, and the digit's share
SEED = 1


def truth(page, found):
    """What of a Page was found: int8 [N], 1 where it is a digit, 0 where it is none, -1 where it does not count."""
    answers = np.zeros(len(found), np.int8)
    for digit in page.digits:
        top, left, bottom, right = digit.box
        size = max(bottom - top, right - left)
        row, column = (top + bottom) / 2, (left + right) / 2
        inside = (np.abs(found.row - row) <= (bottom - top) / 2 + 1) & (
            np.abs(found.column - column) <= (right - left) / 2 + 1
        )
        ratio = found.size / size
        near = np.maximum(np.abs(found.row - row), np.abs(found.column - column)) < OFF * size
        is_digit = inside & near & (ratio > SIZE[0]) & (ratio < SIZE[1])
        half = inside & ~is_digit & (answers == 0) & (digit.seen > 0.3) & (ratio > 0.5) & (ratio < 2)
        if digit.seen > SEEN:
            answers[is_digit] = 1
            answers[half] = -1
        elif digit.seen > 0.3:
            answers[inside & (answers == 0)] = -1
    return answers


def candidates(images, labels, letters, pages=PAGES):
    """Patches, float16 [N, 5, 48, 96], and whether there is a digit in each, float [N], of so many made pages."""
    finder, patches, answers = load_finder(), [], []
    for number in tqdm(range(pages), unit=" pages"):
        rng = np.random.default_rng([SEED, number])
        page = make_page(rng, images, labels, SHAPES[number % 2], letters=letters)
        looks = look(finder, page.photo)
        found = centres(page.photo.shape, looks)
        found = found[rng.permutation(len(found))[:MOST]]
        answer = truth(page, found)
        for which, seen in enumerate(looks):
            own = np.flatnonzero((found.look == which) & (answer >= 0))
            if len(own):
                patches.append(patches_of(seen, found.row[own], found.column[own], found.size[own]).half())
                answers.append(answer[own])
    return torch.cat(patches), torch.from_numpy(np.concatenate(answers)).float()


def learn(images, labels, letters):
    """Train the Judge on the finder's candidates, and write its weights."""
    patches, answers = candidates(images, labels, letters)
    torch.manual_seed(SEED)
    judge = Judge()
    optimizer = torch.optim.AdamW(judge.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * -(-len(patches) // BATCH_SIZE)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps, pct_start=0.1)
    for _ in tqdm(range(EPOCHS), unit=" epochs"):
        for batch in torch.randperm(len(patches)).split(BATCH_SIZE):
            x = patches[batch].float()
            x[:, 3:] *= torch.rand(len(batch), 1, 1, 1) > UNSEEN
            loss = F.binary_cross_entropy_with_logits(judge(x), answers[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    save_judge(judge)
