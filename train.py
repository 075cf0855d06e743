"""Train myCNN on MNIST's 60,000 training digits, and save it after every epoch.

To change the training, edit the constants at the top of train.py. Each run has
its own folder, checkpoints/run-001, run-002, …; an interrupted run is resumed.

99.67 ± 0.04 % of the 10,000 test digits after 20 epochs (n = 5 seeds): 19 minutes
on 2 cores of an AMD EPYC (Zen 5), a minute and a half on an NVIDIA H200.
"""

from support.errors import ArgumentParser, one_line_errors

if __name__ == "__main__":
    one_line_errors()  # before the imports, which take seconds

import math
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from Model import myCNN, save_parameters
from support.device import autocast, check_memory, memory_format, trusted_device, tune_cpu
from support.files import DATA_DIR, unpack_mnist
from support.hyperparameters import checked_hyperparameters
from support.runs import open_run

# Hyperparameters. The values are the lab report's, except where the comment gives the lab report's own.
EPOCHS = 20  # how many times all 60,000 digits are seen
BATCH_SIZE = 64  # digits per training step
LEARNING_RATE = 0.001  # of Adam; the peak of the schedule
DIM_HIDDEN = [32, 128, 512, 1024, 256]  # widths of conv1, conv2, conv3, fc1, fc2
LR_SCHEDULE = "cosine"  # a short warm-up, then down to zero; lab report: "constant"
AUGMENT = True  # rotate, scale, shear and shift every digit a little, differently each epoch; lab report: False
LABEL_SMOOTHING = 0.1  # the share of each label that is spread over all ten classes; lab report: 0.0
PRECISION = "auto"  # bfloat16 if the hardware has it, else float32; lab report: "float32"; also allowed: "bfloat16"
SEED = 0  # on the same CPU, the same seed gives the same parameters, bit for bit; lab report: none

ROOT = Path(__file__).parent
CHECKPOINTS_DIR = ROOT / "checkpoints"


def load_mnist(train, device):
    """MNIST's training or test digits: uint8 [N, 1, 28, 28] in 0..255, and labels, int64 [N], both on `device`."""
    from torchvision.datasets import MNIST  # here, because it takes a second, and reading a photo needs no MNIST

    unpack_mnist(DATA_DIR)
    mnist = MNIST(DATA_DIR, train=train)
    return mnist.data.unsqueeze(1).to(device), mnist.targets.to(device)


def augment(images):
    """Rotate, scale, shear and shift each digit by its own random amounts.

    images: float [N, 1, 28, 28]; returns the same shape. The limits: 15°, 10 %, 0.2 and 2 pixels.
    """

    def random(limit):
        return torch.empty(len(images), device=images.device).uniform_(-limit, limit)

    angle = torch.deg2rad(random(15))
    scale = 1 + random(0.1)
    shear = random(0.2)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    shift = 2 * 2 / 28  # affine_grid's unit is half the image
    rows = [cos, shear * cos - sin, random(shift), sin, shear * sin + cos, random(shift)]
    matrices = torch.stack(rows, dim=1).view(-1, 2, 3)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def loss_function(logits, labels):
    """The mean cross-entropy of logits [N, 10] and labels [N], as in the lab report."""
    return F.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)


def train_step(model, optimizer, scheduler, images, labels, precision):
    """One step of Adam on a batch: uint8 images [N, 1, 28, 28] and labels [N]. Returns its mean loss, on the device."""
    digits = images.float() / 255  # to [0, 1], as ToTensor does
    digits = augment(digits) if AUGMENT else digits
    with autocast(images.device, precision):
        loss = loss_function(model(digits), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    return loss.detach()


def train_epoch(step, images, labels, epoch):
    """Call step(images, labels) for each batch of a new random order. Returns the mean loss, a float."""
    loss_sum = torch.zeros((), device=images.device)
    done, whole = epoch * len(images), EPOCHS * len(images)  # the bar shows when the whole run will end
    with tqdm(desc=f"epoch {epoch}", initial=done, total=whole, unit=" digits", disable=None, leave=False) as bar:
        for batch in torch.randperm(len(images), device=images.device).split(BATCH_SIZE):
            loss = step(images[batch], labels[batch])
            loss_sum += loss * len(batch)
            if bar.update(len(batch)):  # drawn just now; rarely, because reading the loss waits for the GPU
                bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
    return loss_sum.item() / len(images)


def make_scheduler(optimizer, steps):
    """The learning-rate scheduler that LR_SCHEDULE names, for a training of `steps` steps, at least 4."""
    if LR_SCHEDULE == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)
    rise = max(0.05, 2 / steps)
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps, pct_start=rise, cycle_momentum=False)


def main():
    """Train for EPOCHS epochs, saving each; an unfinished run with the same settings is resumed."""
    hyperparameters = checked_hyperparameters(globals())
    tune_cpu()
    with torch.device("meta"):  # the network's shapes, without its memory
        check_memory(myCNN(DIM_HIDDEN), BATCH_SIZE)
    images, labels = load_mnist(train=True, device="cpu")

    torch.manual_seed(SEED)
    model = myCNN(DIM_HIDDEN)
    seeds = torch.randint(2**62, (EPOCHS,)).tolist()  # one for each epoch, so a resumed run draws the same numbers
    device, precision = trusted_device(model, images, labels, PRECISION)
    images, labels = images.to(device), labels.to(device)
    model.to(device, memory_format=memory_format(device)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    scheduler = make_scheduler(optimizer, EPOCHS * math.ceil(len(images) / BATCH_SIZE))
    step = partial(train_step, model, optimizer, scheduler, precision=precision)

    with open_run(CHECKPOINTS_DIR, hyperparameters, precision, model, optimizer, scheduler) as run:
        for epoch in range(len(run.log), EPOCHS):
            torch.manual_seed(seeds[epoch])
            start = time.perf_counter()
            loss = train_epoch(step, images, labels, epoch)
            seconds = time.perf_counter() - start
            save_parameters(model, run.folder / f"epoch_{epoch:02d}.npz")
            run.finish_epoch(loss, seconds)
            left = tqdm.format_interval((EPOCHS - epoch - 1) * seconds)
            print(f"epoch {epoch:2d}: loss {loss:.4f}, {seconds:.1f} s, {left} left", flush=True)


if __name__ == "__main__":
    ArgumentParser(__doc__).parse_args()
    main()
