"""report.png of a run: accuracy and loss by epoch, the confusion matrix, the misread digits."""

import textwrap

import numpy as np
from matplotlib.figure import Figure  # without pyplot: quicker to import, and it needs no screen
from matplotlib.patches import Rectangle

from support.files import atomic_write, read_json

MISREAD = 40  # maximum number of digits shown, in rows of 10


def draw_report(folder, accuracies, images, labels, probabilities):
    """Draw report.png in a run's folder, with its settings.json and training_log.csv. Returns its path.

    accuracies: dict from epoch to accuracy in %. images: uint8 array [N, 28, 28], labels: int array [N], probabilities:
    float array [N, 10], the best epoch's. Raises UserError if the file can't be written.
    """
    best = max(accuracies, key=accuracies.get)
    figure = Figure(figsize=(13, 11.5), dpi=100, layout="constrained")
    figure.get_layout_engine().set(rect=(0.01, 0, 0.98, 0.91), h_pad=0.1)  # the heading is above it
    figure.text(0.03, 0.985, f"myCNN, {folder.name}", va="top", fontsize=16, fontweight="bold", parse_math=False)
    settings = read_json(folder / "settings.json")
    words = [f"{name} = {value}" for name, value in settings.get("hyperparameters", {}).items()]
    words += [settings[name] for name in ("device", "precision") if name in settings]
    figure.text(0.03, 0.952, textwrap.fill(", ".join(words), 130), va="top", fontsize=10, color="0.35")
    panels = [["accuracy", "confusion"], ["loss", "confusion"], ["misread", "misread"]]
    axes = figure.subplot_mosaic(panels, width_ratios=(7, 6), height_ratios=(1, 1, 2))
    axes["accuracy"].sharex(axes["loss"])
    _draw_accuracy(axes["accuracy"], accuracies, best, 100 / len(labels))
    _draw_loss(axes["loss"], folder / "training_log.csv")
    _draw_confusion(axes["confusion"], labels, probabilities.argmax(1), best)
    _draw_misread(axes["misread"], images, labels, probabilities, best)
    path = folder / "report.png"
    with atomic_write(path) as file:
        figure.savefig(file)
    return path


def _draw_misread(axes, images, labels, probabilities, best):
    read, sure = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(read != labels)
    shown = wrong[np.argsort(-sure[wrong])][:MISREAD]
    height, width = 36, 39  # of a digit with its title and margin, in its own pixels
    sheet = np.zeros((MISREAD // 10 * height, 10 * width), np.uint8)  # one image: 40 axes would take half a second
    for number, digit in enumerate(shown):
        row, column = divmod(number, 10)
        y, x = row * height + 7, column * width + 5
        sheet[y : y + 28, x : x + 28] = images[digit]
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 28, 28, fill=False))
        title = f"{labels[digit]} → {read[digit]}   {sure[digit]:.0%}"
        axes.text(x + 13.5, y - 2, title, ha="center", va="bottom", fontsize=10)
    axes.imshow(sheet, cmap="gray_r", vmax=255, interpolation="nearest")
    axes.set_axis_off()
    title = f"Misread by epoch {best}: the {len(shown)} surest of {len(wrong)}"
    axes.set_title(f"{title}   (what it is → what was read, how sure the network was)", loc="left")


def _draw_accuracy(axes, accuracies, best, smallest_error):
    # On a logarithmic axis of errors, 99.0 and 99.8 are as far apart as 95 and 99. Zero is drawn as half an error.
    errors = [max(100 - accuracy, smallest_error / 2) for accuracy in accuracies.values()]
    axes.semilogy(list(accuracies), errors, marker="o", markersize=4)
    at_best = list(accuracies).index(best)
    axes.plot(best, errors[at_best], marker="*", markersize=15, color="C3")
    axes.set_title(f"best: {accuracies[best]:.2f} % (epoch {best})", fontsize=12, color="C3")
    low, high = min(errors) * 0.6, max(*errors, min(errors) * 2) * 1.1
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 50, 90) if low <= tick <= high]
    axes.set_yticks(ticks, [f"{100 - tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.tick_params(labelbottom=False)
    axes.set(ylim=(high, low), ylabel="test accuracy, %")
    axes.grid(alpha=0.3)


def _draw_loss(axes, log):
    if log.exists():  # a run from elsewhere may lack it
        epochs, losses, _ = np.loadtxt(log, delimiter=",", skiprows=1, unpack=True, ndmin=2)
        axes.plot(epochs, losses, marker="o", markersize=4, color="C1")
    axes.set(xlabel="epoch", ylabel="training loss")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)  # a single epoch gets a single tick
    axes.grid(alpha=0.3)


def _draw_confusion(axes, labels, predictions, best):
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predictions), 1)
    errors = counts * (1 - np.eye(10, dtype=int))  # coloured by errors alone: the diagonal would outshine them
    axes.imshow(errors, cmap="Reds", vmax=max(errors.max(), 1) * 1.4)
    for label in range(10):
        axes.add_patch(Rectangle((label - 0.5, label - 0.5), 1, 1, color="0.9"))
        for read in range(10):
            if counts[label, read]:
                style = {"color": "0.4", "fontsize": 8} if label == read else {"color": "black", "fontsize": 11}
                axes.text(read, label, counts[label, read], ha="center", va="center", **style)
    axes.set(xticks=range(10), yticks=range(10), xlabel="read as", ylabel="is")
    axes.set_title(f"Epoch {best}: {errors.sum()} of {len(labels):,} misread", fontsize=12)
