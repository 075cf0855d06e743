"""How sure the detector's answers are is fitted, after its training, on made pages of which it learnt nothing."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from handwriting.detector import ANGLES, NONE, detect, detections, look_again
from handwriting.ink import ink_of
from handwriting.training.learning import SEEN, digits_of, truth
from handwriting.training.pages import KINDS, make_page
from support.device import predict

PAGES, SHAPE = 200, (384, 512)  # pages of each kind of evidence; their height and width, in pixels
SEED = 2


def calibrate(detector, source, model):
    """A dict of what a Detector's `calibration` and `lying` should be.

    detector: a trained Detector; source: a sources.Source that it did not learn from; model: the myCNN that reads. Its
    answers are fitted on pen digits alone, of which neither network saw any.
    """
    evidence, is_digit, lying = [], [], np.ones(ANGLES)  # one page more for each: none is impossible
    for number in range(PAGES):
        page = make_page(np.random.default_rng([SEED, number]), source, SHAPE, KINDS)
        looks, found = detect(detector, page.photo)
        odds = look_again(detector, looks, found).odds
        kept = found.apart(found.heat + odds)
        found, odds = found[kept], odds[kept]
        angles = np.array([digit.angle for digit in page.digits if digit.seen > SEEN and digit.clear])
        places = np.rint(angles * ANGLES / 360).astype(int) % ANGLES
        lying += np.bincount(places, minlength=ANGLES) / max(1, len(places))
        answers = _truth(found, page)
        evidence += np.stack([found.heat, odds, np.ones(len(odds))], 1)[answers >= 0].tolist()
        is_digit += (answers[answers >= 0] < NONE).tolist()
    evidence, is_digit = torch.tensor(evidence), torch.tensor(is_digit, dtype=torch.float32)
    first = _fitted([0.5, 0.5, 0.0], lambda w: F.binary_cross_entropy_with_logits(evidence @ w, is_digit))
    pens = replace(source, images=source.images[:0], labels=source.labels[:0])  # myCNN learnt from all of MNIST
    own, labels, right = [], [], []
    for number in range(PAGES):
        rng = np.random.default_rng([SEED + 1, number])
        page = make_page(rng, pens, SHAPE, {"coloured": 0.5, "noise": 0.5, "gradient": 0.5})
        looks, found = detect(detector, page.photo)
        for detection in detections(detector, looks, found, look_again(detector, looks, found)):
            ink = ink_of(detection)
            digit = ink and _digit_at(page, ink[0])
            if digit:
                own.append(ink[1])
                labels.append(np.logaddexp(*detection.labels.reshape(2, 10)))
                right.append(digit.label)
    logits = predict(model, torch.from_numpy(np.stack(own)).unsqueeze(1)).clone()  # which autograd may use
    labels, right = torch.tensor(np.array(labels), dtype=torch.float32), torch.tensor(right)
    second = _fitted([2.0, 1.0], lambda w: F.cross_entropy(w[0] * logits + w[1] * labels, right))
    calibration = torch.tensor([*first, 1 / second[0], second[1]])
    return {"calibration": calibration, "lying": torch.from_numpy(np.log(lying / lying.sum()))}


def _truth(found, page):
    places = torch.from_numpy(np.stack([found.x, found.y, found.size], 1)).float()[None]
    return truth(places, torch.from_numpy(digits_of(page))[None])[0][0].numpy()


def _digit_at(page, box):
    """The digit in whose box the middle of another box lies, or None."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    inside = (d for d in page.digits if d.box[0] < x < d.box[2] and d.box[1] < y < d.box[3] and d.seen > 0.7)
    return next(inside, None)


def _fitted(start, loss_of):
    """The numbers, from `start` on, for which a loss is least, as a list."""
    numbers = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.LBFGS([numbers], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = loss_of(numbers)
        loss.backward()
        return loss

    optimizer.step(closure)
    return numbers.tolist()
