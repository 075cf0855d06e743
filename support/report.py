"""report.png of a run: accuracy and loss by epoch, the confusion matrix, the misread digits."""

import sys

import numpy as np
from matplotlib.figure import Figure  # without pyplot: quicker to import, and it needs no screen

from support.files import atomic_write, shown


def draw_report(folder, accuracies, best, images, labels, probabilities):
    """Draw report.png in a run's folder, with the losses of its training_log.csv.

    accuracies: dict from epoch to accuracy in %. best: the best epoch. images: uint8 array [N, 28, 28], labels: int
    array [N], probabilities: float array [N, 10], the best epoch's. Raises UserError if the file can't be written.
    """
    figure = Figure(figsize=(13, 12), layout="constrained")
    figure.suptitle(f"myCNN, {folder.name}", fontsize=16)
    upper, lower = figure.subfigures(2, 1)
    axes = upper.subplot_mosaic([["accuracy", "confusion"], ["loss", "confusion"]])
    _draw_curve(axes["accuracy"], accuracies.keys(), accuracies.values(), "test accuracy, %")
    axes["accuracy"].set(title=f"Best: {accuracies[best]:.2f} % (epoch {best})", ylim=(None, 100))
    log = folder / "training_log.csv"
    try:
        _, *rows = log.read_text(encoding="utf-8").splitlines()
        losses = [float(row.split(",")[1]) for row in rows]
        _draw_curve(axes["loss"], range(len(losses)), losses, "training loss")
    except (OSError, ValueError, IndexError):
        print(f"{shown(log)} is missing or damaged: report.png has no training loss", file=sys.stderr)
    answers, confidence = probabilities.argmax(1), probabilities.max(1)

    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, answers), 1)
    errors = counts * (1 - np.eye(10, dtype=int))  # coloured by errors alone: the diagonal would outshine them
    axes["confusion"].imshow(errors, cmap="Reds", vmax=max(errors.max(), 1) * 1.4)
    for label, answer in np.argwhere(counts):
        axes["confusion"].text(answer, label, counts[label, answer], ha="center", va="center")
    axes["confusion"].set(xticks=range(10), yticks=range(10), xlabel="answer", ylabel="label")
    axes["confusion"].set_title(f"Epoch {best}: {errors.sum()} of {len(labels):,} misread")

    wrong = np.flatnonzero(answers != labels)
    wrong = wrong[np.argsort(-confidence[wrong])]
    lower.suptitle(f"Misread by epoch {best}, most confident first (label → answer, confidence)")
    grid = lower.subplots(4, 10, subplot_kw={"xticks": [], "yticks": [], "frame_on": False})
    for place, digit in zip(grid.flat, wrong, strict=False):  # as many as there is room for
        place.imshow(images[digit], cmap="gray_r")
        place.set_title(f"{labels[digit]} → {answers[digit]}   {100 * confidence[digit]:.0f} %", fontsize=10)

    with atomic_write(folder / "report.png") as file:
        figure.savefig(file)


def _draw_curve(axes, epochs, values, name):
    axes.plot(list(epochs), list(values), marker="o", markersize=4)
    axes.set(xlabel="epoch", ylabel=name)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)  # a single epoch gets a single tick
    axes.grid(alpha=0.3)
