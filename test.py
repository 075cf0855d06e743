"""Test every epoch of a run on the 10,000 MNIST test digits: python test.py

Takes the newest run, or the one whose folder is given: python test.py checkpoints/run-001
"""

import sys
from pathlib import Path

import torch

from Model import load_parameters
from support import device as devices
from support.errors import UserError, one_line_errors
from support.runs import all_runs, epoch_files, shown
from train import CHECKPOINTS_DIR, load_mnist

BATCH_SIZE = 500  # no effect on the result, only on speed and memory


@torch.inference_mode()
def predict(model, images):
    """Logits, float [N, 10], of images, uint8 [N, 1, 28, 28], on their device, in float32 and eval mode."""
    model.eval()
    return torch.cat([model(batch.float() / 255) for batch in images.split(BATCH_SIZE)])


def run_to_test(arguments):
    """The folder that the command line names, or the newest run's; a UserError where there is none."""
    if len(arguments) > 1:
        raise UserError("test.py takes one folder at most, such as: python test.py checkpoints/run-001")
    if arguments:
        folder = Path(arguments[0])
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: name a run, such as checkpoints/run-001")
        return folder
    runs = all_runs(CHECKPOINTS_DIR)
    if not runs:
        raise UserError(f"no run in {shown(CHECKPOINTS_DIR)} yet: python train.py makes one")
    return runs[-1]


def main(arguments=()):
    """Print each epoch's accuracy, correct / total * 100 %, and the best one.

    arguments: the command line's. Returns the exit code: 1 where an epoch's file is damaged, else 0.
    """
    devices.tune_cpu()
    folder = run_to_test(arguments)
    epochs = epoch_files(folder)
    if not epochs:
        raise UserError(f"{shown(folder)} has no epoch yet: wait for its first one, or name another run")
    print(f"predicting ... {shown(folder)}", flush=True)
    device = devices.best_device()
    images, labels = load_mnist(train=False, device=device)
    total = len(labels)

    accuracies = {}
    for epoch, path in epochs.items():
        try:
            model = load_parameters(path).to(device, memory_format=torch.channels_last)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            continue
        correct = (predict(model, images).argmax(1) == labels).sum().item()
        accuracies[epoch] = correct / total * 100
        print(f"epoch {epoch:2d}: {accuracies[epoch]:.4f} %", flush=True)

    if accuracies:
        best = max(accuracies, key=accuracies.get)
        print(f"best accuracy: {accuracies[best]:.4f} % (epoch {best})")
    return 0 if len(accuracies) == len(epochs) else 1


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main(sys.argv[1:]))
