"""Test every epoch of a run on the 10,000 MNIST test digits, or read images of your own handwriting.

python test.py                          the newest run
python test.py checkpoints/run-001      that run
python test.py photo.png more/ *.jpg    images, or folders of them, read by the newest run's best epoch
"""

import csv
import gc
import json
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from Model import load_parameters
from support import device as devices
from support import handwriting
from support.errors import UserError, one_line_errors
from support.files import write_csv
from support.picture import draw_own_digits, draw_report
from support.runs import all_runs, epoch_files, shown
from train import CHECKPOINTS_DIR, load_mnist

BATCH_SIZE = 500  # no effect on the result, only on speed and memory
CLOSE = 1.0  # between the two highest logits; bfloat16 was seen to change that by 0.17 at most


@torch.inference_mode()
def predict(model, images):
    """Logits, float32 [N, 10], of images, uint8 [N, 1, 28, 28], on their device, in eval mode.

    Where the hardware has bfloat16 it is used, and what it leaves close is computed again in float32, so that the
    answers are float32's.
    """
    model.eval()

    def forward(images, precision):
        with torch.autocast(images.device.type, precision, enabled=precision != torch.float32):
            return torch.cat([model(batch.float() / 255) for batch in images.split(BATCH_SIZE)]).float()

    precision = devices.best_precision(images.device)
    logits = forward(images, precision)
    if precision != torch.float32:
        first, second = logits.topk(2).values.unbind(1)
        close = first - second < CLOSE
        logits[close] = forward(images[close], torch.float32)
    return logits


def newest_run():
    """The folder of the newest run; a UserError where there is none."""
    runs = all_runs(CHECKPOINTS_DIR)
    if not runs:
        raise UserError(f"no run in {shown(CHECKPOINTS_DIR)} yet: python train.py makes one")
    return runs[-1]


def test_run(folder):
    """Print each epoch's accuracy, correct / total * 100 %, and the best one; write accuracy.csv and report.png.

    folder: a run's. Returns the exit code: 1 where an epoch's file is damaged, else 0.
    """
    epochs = epoch_files(folder)
    if not epochs:
        raise UserError(f"{shown(folder)} has no epoch yet: wait for its first one, or name another run")
    print(f"predicting ... {shown(folder)}", flush=True)
    device = devices.best_device()
    images, labels = load_mnist(train=False, device=device)
    total = len(labels)

    correct, best = {}, None
    bar = tqdm(epochs.items(), unit=" epochs", disable=None, leave=False)
    for epoch, path in bar:
        try:
            model = load_parameters(path).to(device, memory_format=torch.channels_last)
        except UserError as error:
            bar.write(f"error: {error}", file=sys.stderr)
            continue
        logits = predict(model, images)
        correct[epoch] = (logits.argmax(1) == labels).sum().item()
        bar.write(f"epoch {epoch:2d}: {correct[epoch] / total * 100:.4f} %")
        if best is None or correct[epoch] > correct[best]:
            best, best_logits = epoch, logits
    if best is None:
        return 1

    accuracies = {epoch: count / total * 100 for epoch, count in correct.items()}
    print(f"best accuracy: {accuracies[best]:.4f} % (epoch {best})", flush=True)
    rows = [(epoch, correct[epoch], total, f"{accuracy:.4f}") for epoch, accuracy in accuracies.items()]
    write_csv(folder / "accuracy.csv", ("epoch", "correct", "total", "accuracy"), rows)
    probabilities = best_logits.softmax(1).cpu().numpy()
    title, losses = title_and_losses(folder)
    draw_report(
        folder / "report.png",
        title,
        accuracies,
        losses,
        images[:, 0].cpu().numpy(),
        labels.cpu().numpy(),
        probabilities,
    )
    print(f"pictures in {shown(folder / 'report.png')}")
    return 0 if len(correct) == len(epochs) else 1


def title_and_losses(folder):
    """What a run's folder tells of its training: a title of two or three lines, and a dict from epoch to loss."""
    try:
        settings = json.loads((folder / "settings.json").read_text())
        names = [f"{name} = {value}" for name, value in settings["hyperparameters"].items()]
        half = (len(names) + 1) // 2
        lines = [", ".join(names[:half]), ", ".join(names[half:] + [f"{settings['device']}, {settings['precision']}"])]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # a run from elsewhere may lack it
        lines = ["no settings.json in the folder"]
    try:
        with (folder / "training_log.csv").open(newline="") as file:
            losses = {int(row["epoch"]): float(row["loss"]) for row in csv.DictReader(file)}
    except (OSError, ValueError, TypeError, KeyError):
        losses = {}
    return "\n".join([f"myCNN, {folder.name}", *lines]), losses


def best_model(folder):
    """The myCNN of a run's best epoch by accuracy.csv, or of its last one where there is none; and that epoch."""
    epochs = epoch_files(folder)
    if not epochs:
        raise UserError(f"{shown(folder)} has no epoch yet: wait for its first one")
    try:
        with (folder / "accuracy.csv").open(newline="") as file:
            accuracies = {int(row["epoch"]): float(row["accuracy"]) for row in csv.DictReader(file)}
    except (OSError, ValueError, TypeError, KeyError):
        accuracies = {}
    tested = [epoch for epoch in epochs if epoch in accuracies]
    epoch = max(tested, key=accuracies.get) if tested else max(epochs)
    return load_parameters(epochs[epoch]), epoch


def read_images(paths):
    """Print the digits on each image, how sure the network is of each, and the runner-up; draw own_digits.png.

    paths: image files, and folders of them. Returns the exit code: 1 where one could not be read, else 0.
    """
    folder = newest_run()
    model, epoch = best_model(folder)
    print(f"reading with epoch {epoch} of {shown(folder)}", flush=True)
    device = devices.best_device()
    model.to(device)
    read, failures = [], 0
    for path in handwriting.image_files(paths):
        try:
            if path.is_dir():
                raise UserError(f"{path} has no image in it")
            picture = handwriting.load_grey(path)
            lines = handwriting.find_digits(picture)
            if not lines:
                raise UserError(f"{path} shows no ink: write darker, or come closer")
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            failures += 1
            continue
        digits = torch.from_numpy(np.stack([digit for line in lines for digit in line])).unsqueeze(1)
        top = predict(model, digits.to(device)).softmax(1).cpu().topk(2)
        answers = list(zip(top.indices.tolist(), top.values.tolist(), strict=True))
        for line in lines:
            line_answers, answers = answers[: len(line)], answers[len(line) :]
            sure = ", ".join(f"{first} {p:.1%} (or {second} {q:.1%})" for (first, second), (p, q) in line_answers)
            print(f"{path}: {' '.join(str(first) for (first, _), _ in line_answers)}   {sure}", flush=True)
        read.append((path.name, picture, digits[:, 0].numpy(), top.indices[:, 0].tolist(), top.values[:, 0].tolist()))
    if read:
        draw_own_digits(folder / "own_digits.png", read)
        print(f"pictures in {shown(folder / 'own_digits.png')}")
    return 1 if failures else 0


def main(arguments=()):
    """Test a run, or read images, as the command line `arguments` says. Returns the exit code."""
    devices.tune_cpu()
    paths = [Path(argument) for argument in arguments]
    if not paths:
        return test_run(newest_run())
    if len(paths) == 1 and not paths[0].exists():
        raise UserError(f"{paths[0]} is not there: name a run, such as checkpoints/run-001, or an image")
    if len(paths) == 1 and paths[0].is_dir() and (epoch_files(paths[0]) or handwriting.image_files(paths) == paths):
        return test_run(paths[0])  # also an empty folder, so that a run without an epoch is called one
    return read_images(paths)


if __name__ == "__main__":
    gc.freeze()  # what the imports made is needed to the end: looking through it for garbage takes almost a second
    with one_line_errors():
        sys.exit(main(sys.argv[1:]))
