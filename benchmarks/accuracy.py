"""The accuracy figures of the README: python benchmarks/accuracy.py [row …]

Trains each row below with train.py's own main(), tests every epoch as test.py does, and adds the epochs to
benchmarks/accuracy.csv. Rows that are already there are skipped, so rows can be run one at a time. Finally it prints
the table and draws benchmarks/accuracy.png. Rows "held-out …" are trained without the last 10,000 or 20,000 training
digits and tested on these: recipes are chosen by these rows alone. Recipes that were rejected and that train.py's
constants can't express are only in the CSV file. All rows together take about a day on two CPU cores.
"""

import csv
import json
import shutil
import statistics
import sys
from collections import defaultdict
from itertools import chain
from pathlib import Path
from unittest import mock

import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent.parent))
import train
from Model import load_parameters
from support.device import best_device, device_name, memory_format, predict
from support.runs import all_runs, epoch_files
from train import load_mnist

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "accuracy.csv"
FIGURE = FOLDER / "accuracy.png"
CHECKPOINTS = FOLDER / ".checkpoints"
SEEDS = 0, 1, 2

REPORT = {"LR_SCHEDULE": "constant", "AUGMENT": False, "LABEL_SMOOTHING": 0.0}
NARROW = {"DIM_HIDDEN": [16, 48, 96, 128, 64], "LEARNING_RATE": 0.002}
ROWS = {
    "default": {},
    "report": REPORT,
    # At a constant learning rate, a shorter run is the beginning of a longer one.
    "report, learning rate 0.01": REPORT | {"LEARNING_RATE": 0.01, "EPOCHS": 10},
    "report, learning rate 0.0005": REPORT | {"LEARNING_RATE": 0.0005},
    "report, learning rate 0.0001": REPORT | {"LEARNING_RATE": 0.0001},
    "report, 40 epochs": REPORT | {"EPOCHS": 40},
    "default, 40 epochs": {"EPOCHS": 40},
    "default, 1 epoch": {"EPOCHS": 1},
    "default, 3 epochs": {"EPOCHS": 3},
    "default, 5 epochs": {"EPOCHS": 5},
    "narrow, 5 epochs": NARROW | {"EPOCHS": 5, "LEARNING_RATE": 0.003},
    "held-out, 10 epochs, report": REPORT | {"EPOCHS": 10},
    "held-out, 10 epochs, cosine": REPORT | {"LR_SCHEDULE": "cosine", "EPOCHS": 10},
    "held-out, 10 epochs, cosine + augment": {"LABEL_SMOOTHING": 0.0, "EPOCHS": 10},
    "held-out, 10 epochs, cosine + augment + smoothing": {"EPOCHS": 10},
    "held-out, 2 epochs, float32": {"EPOCHS": 2, "PRECISION": "float32"},
    "held-out, 2 epochs, bfloat16": {"EPOCHS": 2, "PRECISION": "bfloat16"},
    "held-out 20,000, default": {},
    "held-out 20,000, narrow, default": NARROW,
    "held-out 20,000, narrow, smoothing 0.05": NARROW | {"LABEL_SMOOTHING": 0.05},
    "held-out 20,000, narrow, 40 epochs": NARROW | {"EPOCHS": 40},
}


def load_digits(row, is_training, device):
    """A row's digits to train or to test with. In "held-out …" both are training digits: no test digit is used."""
    if not row.startswith("held-out"):
        return load_mnist(train=is_training, device=device)
    images, labels = load_mnist(train=True, device=device)
    count = 20_000 if row.startswith("held-out 20,000") else 10_000
    part = slice(None, -count) if is_training else slice(-count, None)
    return images[part], labels[part]


def measure(row, seed):
    """Train a row with a seed and test its epochs. Yields a row of the results file for each."""
    settings = ROWS[row] | {"SEED": seed, "CHECKPOINTS_DIR": CHECKPOINTS}
    with mock.patch.multiple(train, load_mnist=lambda train, device: load_digits(row, train, device), **settings):
        train.main()
    device = best_device()
    images, labels = load_digits(row, False, device)
    folder = all_runs(CHECKPOINTS)[-1]
    log = csv.DictReader((folder / "training_log.csv").read_text().splitlines())
    precision = json.loads((folder / "settings.json").read_text())["precision"]
    for entry, (epoch, path) in zip(log, epoch_files(folder).items(), strict=True):
        model = load_parameters(path).to(device, memory_format=memory_format(device))
        correct = (predict(model, images).argmax(1) == labels).sum().item()
        measured_on = device_name(device), precision, torch.__version__
        yield row, seed, epoch, correct, len(labels), entry["loss"], entry["seconds"], *measured_on
    shutil.rmtree(folder)  # 106 MB an epoch


def read_results():
    """The results file: {row: {seed: [(accuracy in %, seconds, hardware) of each epoch]}}."""
    results = defaultdict(lambda: defaultdict(list))
    with RESULTS.open() as file:
        for entry in csv.DictReader(file):
            accuracy = int(entry["correct"]) / int(entry["total"]) * 100
            hardware = f"{entry['device']}, {entry['precision']}"
            results[entry["row"]][int(entry["seed"])].append((accuracy, float(entry["seconds"]), hardware))
    return results


def mean_and_spread(values):
    """The mean and, if there are several values, the standard deviation, as text."""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def print_table(results):
    """Print a Markdown table: each row's last and best epoch over its seeds, and the median duration of an epoch."""
    print("\n| row | seeds | last epoch, % | best epoch, % | s an epoch |\n" + "| --- " * 5 + "|")
    for row, seeds in results.items():
        last = mean_and_spread([run[-1][0] for run in seeds.values()])
        best = mean_and_spread([max(run)[0] for run in seeds.values()])
        times = defaultdict(list)
        for _, seconds, hardware in chain(*seeds.values()):
            times[hardware].append(seconds)
        lengths = "; ".join(f"{statistics.median(times[hardware]):.1f} on {hardware}" for hardware in times)
        print(f"| {row} | {len(seeds)} | {last} | {best} | {lengths} |")


def draw(results):
    """Draw accuracy by epoch for each learning rate of the report's study and for the default recipe."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    rows = {"report": "learning rate 0.001", "default": "default recipe (0.001, cosine, augmented)"}
    rows |= {f"report, learning rate {rate}": f"learning rate {rate}" for rate in ("0.01", "0.0005", "0.0001")}
    for number, (row, label) in enumerate(rows.items()):
        for run in results[row].values():
            axes.plot([accuracy for accuracy, *_ in run], color=f"C{number}", alpha=0.8, marker=".")
        axes.lines[-1].set_label(label)
    axes.axhline(99.35, color="grey", linestyle=":", label="99.35 %, the best epoch of the lab report")
    axes.set(xlabel="epoch", ylabel="accuracy on the 10,000 test digits, %", ylim=(97.5, 100))
    axes.set_title("myCNN on MNIST, one line a run")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(FIGURE, dpi=110)


def main():
    """Measure the rows named on the command line, or all, with the seeds that are not in the results file yet."""
    for row in sys.argv[1:] or ROWS:
        for seed in SEEDS:
            if seed not in read_results()[row]:
                entries = list(measure(row, seed))
                with RESULTS.open("a", newline="") as file:
                    csv.writer(file, lineterminator="\n").writerows(entries)
    print_table(read_results())
    draw(read_results())


if __name__ == "__main__":
    main()
