"""The accuracy figures of the README: python benchmarks/accuracy.py [row …] [--seeds 0 1 2]

Trains each row below with train.py's own main(), tests every epoch as test.py does, and adds the epochs
to benchmarks/accuracy.csv. What stands there already is skipped, so it can run a row at a time. Last it prints the
table and draws benchmarks/accuracy.png. Rows "held-out …" train on 50,000 of the training digits and are tested on
the other 10,000: between recipes, only these choose. All rows together take about a day on two CPU cores.
"""

import argparse
import csv
import itertools
import json
import shutil
import statistics
import sys
from collections import defaultdict
from functools import partial
from itertools import chain
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent.parent))
import train
from Model import load_parameters
from support import device as devices
from support.predicting import predict
from support.runs import all_runs, epoch_files

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "accuracy.csv"
FIGURE = FOLDER / "accuracy.png"
CHECKPOINTS = FOLDER / ".checkpoints"


def squared_error(logits, labels):
    """The mean squared difference of logits [N, 10] and one-hot labels, the loss that the report considered."""
    return F.mse_loss(logits.float(), F.one_hot(labels, 10).float())


def half_augmented_last(images, augment=train.augment, steps=itertools.count()):  # noqa: B008 (it is to last)
    """train.augment, of half of the digits only in the last fifth of 20 epochs on 40,000 digits."""
    augmented = augment(images)
    if next(steps) % (20 * 625) < 16 * 625:
        return augmented
    return torch.where(torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5, augmented, images)


def elastic(images, augment=train.augment):
    """train.augment, and each digit bent by its own 7×7 shifts of half a pixel or so (after Simard et al., 2003)."""

    def bent_grid(matrices, size, affine_grid=F.affine_grid, **options):
        field = torch.randn(size[0], 2, 7, 7, device=matrices.device) / 28  # half a pixel
        field = F.interpolate(field, size=(28, 28), mode="bicubic", align_corners=False)
        return affine_grid(matrices, size, **options) + field.permute(0, 2, 3, 1)

    with mock.patch.object(F, "affine_grid", bent_grid):
        return augment(images)


def other_pens(images, augment=train.augment):
    """train.augment, then each digit's strokes up to a pixel wider or narrower: a max or min filter blended in."""
    images = augment(images)
    share = torch.empty(len(images), 1, 1, 1, device=images.device).uniform_(-1, 1)
    wide, narrow = F.max_pool2d(images, 3, 1, 1), -F.max_pool2d(-images, 3, 1, 1)
    return torch.where(share > 0, images.lerp(wide, share.abs()), images.lerp(narrow, share.abs() / 2))


def slower_fc1(optimizer, steps, share=0.1):
    """train.make_scheduler, with fc1 at a share of the learning rate. A group each for fc1's weights and the rest."""
    group = optimizer.param_groups[0]
    fc1 = max(group["params"], key=torch.numel)
    group["params"] = [p for p in group["params"] if p is not fc1]
    optimizer.add_param_group({"params": [fc1]})
    rates = [train.LEARNING_RATE, train.LEARNING_RATE * share]
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, steps, pct_start=0.05, cycle_momentum=False)


def he_fc1(optimizer, steps, make_scheduler=train.make_scheduler):
    """train.make_scheduler, with fc1's weights begun 2.4 times as large, for ReLU (He et al., 2015)."""
    torch.nn.init.kaiming_uniform_(max(optimizer.param_groups[0]["params"], key=torch.numel), nonlinearity="relu")
    return make_scheduler(optimizer, steps)


def slower_forgetting(optimizer, steps, make_scheduler=train.make_scheduler):
    """train.make_scheduler, with Adam's second beta at 0.99."""
    optimizer.param_groups[0]["betas"] = (0.9, 0.99)
    return make_scheduler(optimizer, steps)


def flat_then_falling(optimizer, steps):
    """The full learning rate until half of the steps are done, then down to zero on a line."""

    def share(step):
        return min(1, 20 * (step + 1) / steps, 2 - 2 * step / steps)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


REPORT = {"LR_SCHEDULE": "constant", "AUGMENT": False, "LABEL_SMOOTHING": 0.0}
PLAIN = {"LR_SCHEDULE": "cosine", "AUGMENT": True, "LABEL_SMOOTHING": 0.0}
NARROW = {"DIM_HIDDEN": [16, 48, 96, 128, 64], "LEARNING_RATE": 0.002}
STUDY = {
    "default": {},
    "elastic, 0.5 pixels": {"augment": elastic},
    "other pens": {"augment": other_pens},
    "fc1 at 0.1": {"make_scheduler": slower_fc1},
    "fc1 begun as He": {"make_scheduler": he_fc1},
    "smoothing 0.05": {"LABEL_SMOOTHING": 0.05},
    "flat, then falling": {"make_scheduler": flat_then_falling},
    "half augmented last": {"augment": half_augmented_last},
    "beta 0.99": {"make_scheduler": slower_forgetting},
    "40 epochs": {"EPOCHS": 40},
}
ROWS = {
    "default": {},
    "report": REPORT,
    # At a constant rate a shorter run is the beginning of a longer one.
    "report, learning rate 0.01": REPORT | {"LEARNING_RATE": 0.01, "EPOCHS": 10},
    "report, learning rate 0.0005": REPORT | {"LEARNING_RATE": 0.0005},
    "report, learning rate 0.0001": REPORT | {"LEARNING_RATE": 0.0001},
    "report, squared error": REPORT | {"loss_function": squared_error, "EPOCHS": 3},
    "report, 40 epochs": REPORT | {"EPOCHS": 40},
    "default, 40 epochs": {"EPOCHS": 40},
    "default, 1 epoch": {"EPOCHS": 1},
    "default, 3 epochs": {"EPOCHS": 3},
    "default, 5 epochs": {"EPOCHS": 5},
    "narrow, 5 epochs": NARROW | {"EPOCHS": 5, "LEARNING_RATE": 0.003},
    "held-out, 10 epochs, report": REPORT | {"EPOCHS": 10},
    "held-out, 10 epochs, cosine": REPORT | {"LR_SCHEDULE": "cosine", "EPOCHS": 10},
    "held-out, 10 epochs, cosine + augment": PLAIN | {"EPOCHS": 10},
    "held-out, 10 epochs, cosine + augment + smoothing": PLAIN | {"EPOCHS": 10, "LABEL_SMOOTHING": 0.1},
    "held-out, 10 epochs, default, fc1 at 0.1": STUDY["fc1 at 0.1"] | {"EPOCHS": 10},
    "held-out 20,000, default": {},
    "held-out 20,000, elastic, 0.5 pixels": STUDY["elastic, 0.5 pixels"],
    "held-out, 2 epochs, float32": {"EPOCHS": 2, "PRECISION": "float32"},
    "held-out, 2 epochs, bfloat16": {"EPOCHS": 2, "PRECISION": "bfloat16"},
} | {f"held-out 20,000, narrow, {change}": NARROW | STUDY[change] for change in STUDY}


def split_mnist(train_part, device, held_out, load_mnist=train.load_mnist):
    """The training digits but the last ones, or those `held_out` where `train_part` is False: no test digit is read."""
    images, labels = load_mnist(train=True, device=device)
    part = slice(None, -held_out) if train_part else slice(-held_out, None)
    return images[part], labels[part]


def averaged(paths):
    """The network, on the CPU, of the mean parameters of several epochs' files."""
    models = [load_parameters(path) for path in paths]
    states = [model.state_dict() for model in models]
    with torch.no_grad():
        for name, tensor in states[-1].items():
            tensor.copy_(sum(state[name].double() for state in states) / len(states))
    return models[-1]


def measure(row, seed):
    """Train a row with a seed and test its epochs. Returns a dict for each epoch, as in the results file.

    Rows "held-out 20,000" are also tested with each epoch's parameters averaged with those of the two before it.
    """
    load_mnist = train.load_mnist
    if row.startswith("held-out"):
        load_mnist = partial(split_mnist, held_out=20_000 if row.startswith("held-out 20,000") else 10_000)
    settings = ROWS[row] | {"SEED": seed, "CHECKPOINTS_DIR": CHECKPOINTS}
    with mock.patch.multiple(train, load_mnist=lambda train, device: load_mnist(train, device=device), **settings):
        train.main()
        device = devices.best_device()
        images, labels = train.load_mnist(train=False, device=device)
    folder = all_runs(CHECKPOINTS)[-1]
    with (folder / "training_log.csv").open() as file:
        log = list(csv.DictReader(file))
    precision = json.loads((folder / "settings.json").read_text())["precision"]
    paths = list(epoch_files(folder).values())
    tests = {row: 1, f"{row}, three epochs averaged": 3} if row.startswith("held-out 20,000") else {row: 1}
    results = []
    for (name, count), (epoch, entry) in itertools.product(tests.items(), enumerate(log)):
        model = averaged(paths[max(0, epoch + 1 - count) : epoch + 1])
        model.to(device, memory_format=devices.memory_format(device))
        correct = (predict(model, images).argmax(1) == labels).sum().item()
        print(f"{name}, seed {seed}, epoch {epoch}: {correct / len(labels) * 100:.4f} %", flush=True)
        results.append(
            {
                "row": name,
                "seed": seed,
                "epoch": epoch,
                "correct": correct,
                "total": len(labels),
                "loss": entry["loss"],
                "seconds": entry["seconds"],
                "device": devices.device_name(device),
                "precision": precision,
                "torch": torch.__version__,
            }
        )
    shutil.rmtree(folder)  # 106 MB an epoch
    return results


def read_results():
    """The results file, as {row: {seed: [a dict for each epoch, in order]}}."""
    results = defaultdict(lambda: defaultdict(list))
    if RESULTS.exists():
        with RESULTS.open() as file:
            for entry in csv.DictReader(file):
                results[entry["row"]][int(entry["seed"])].append(entry)
    return results


def accuracy(entry):
    """The accuracy in % of an entry of the results file."""
    return int(entry["correct"]) / int(entry["total"]) * 100


def mean_and_spread(values):
    """The mean and, of several values, the standard deviation, in words."""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def print_table(results):
    """Print a Markdown table: each row's last and best epoch over its seeds, and how long it takes.

    The time until 99.35 %, the best epoch of the lab report, is in epochs of the row's median length (one interrupted
    epoch does not spoil it), for each device and precision: a CPU with bfloat16 and one without are far apart.
    """
    print("\n| row | seeds | last epoch, % | best epoch, % | s an epoch | s until 99.35 % |\n" + "| --- " * 6 + "|")
    for row, seeds in results.items():
        runs = seeds.values()
        last = mean_and_spread([accuracy(run[-1]) for run in runs])
        best = mean_and_spread([max(map(accuracy, run)) for run in runs])
        times = defaultdict(list)
        for entry in chain(*runs):
            times[f"{entry['device']}, {entry['precision']}"].append(float(entry["seconds"]))
        medians = {hardware: statistics.median(times[hardware]) for hardware in times}
        seconds = "; ".join(f"{median:.1f} on {hardware}" for hardware, median in medians.items())
        passed = [
            next((n for n, entry in enumerate(run, 1) if round(accuracy(entry), 4) > 99.35), None) for run in runs
        ]
        until = "not reached"
        if None not in passed:
            until = "; ".join(f"{statistics.mean(passed) * median:.0f}" for median in medians.values())
        print(f"| {row} | {len(runs)} | {last} | {best} | {seconds} | {until} |")


def draw(results):
    """Draw accuracy by epoch for each learning rate of the report's study and for the default recipe."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    rows = {"report": "learning rate 0.001", "default": "default recipe (0.001, cosine, augmented)"}
    rows |= {f"report, learning rate {rate}": f"learning rate {rate}" for rate in ("0.01", "0.0005", "0.0001")}
    for row, label in rows.items():
        for i, run in enumerate(results[row].values()):
            colour = f"C{list(rows).index(row)}"
            axes.plot(list(map(accuracy, run)), color=colour, alpha=0.8, marker=".", label=None if i else label)
    axes.axhline(99.35, color="grey", linestyle=":", label="99.35 %, the best epoch of the lab report")
    axes.set(xlabel="epoch", ylabel="accuracy on the 10,000 test digits, %", ylim=(97.5, 100))
    axes.set_title("myCNN on MNIST, one line a run")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(FIGURE, dpi=110)


def main():
    """Measure the rows and seeds of the command line that are not in the results file yet; then table and figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("rows", nargs="*", metavar="row", help=f"one of: {'; '.join(ROWS)} (without: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(unknown)}")
    for row in arguments.rows or ROWS:
        for seed in arguments.seeds:
            if seed not in read_results()[row]:
                entries = measure(row, seed)
                is_new = not RESULTS.exists()
                with RESULTS.open("a", newline="") as file:
                    writer = csv.DictWriter(file, entries[0], lineterminator="\n")
                    if is_new:
                        writer.writeheader()
                    writer.writerows(entries)
    print_table(read_results())
    draw(read_results())


if __name__ == "__main__":
    main()
