"""report.png of a run: accuracy and loss by epoch, the confusion matrix, the misread digits."""

import warnings

import numpy as np
from matplotlib.figure import Figure  # without pyplot: quicker to import, and it needs no screen
from matplotlib.patches import Rectangle

from support.files import atomic_write, read_column, read_json

MISREAD = 40  # digits shown at the most, in rows of 10


def draw_report(folder, accuracies, images, labels, probabilities):
    """Draw report.png in a run's folder, with what settings.json and training_log.csv there tell. Returns its path.

    accuracies: dict from epoch to accuracy in %, the best of which is marked. images: uint8 array [N, 28, 28], labels:
    int array [N], probabilities: float array [N, 10], the best epoch's. Raises UserError where the file can't be
    written.
    """
    title, losses = _title_and_losses(folder)
    best = max(accuracies, key=accuracies.get)
    predictions = probabilities.argmax(1)
    figure = Figure(figsize=(13, 11.5), dpi=100)
    heading, _, details = title.partition("\n")
    figure.suptitle(heading, x=0.03, y=0.985, ha="left", fontsize=16, fontweight="bold", parse_math=False)
    figure.text(0.03, 0.952, details, va="top", fontsize=10, color="0.35", parse_math=False)
    top = figure.add_gridspec(2, 2, left=0.07, right=0.985, top=0.885, bottom=0.475, width_ratios=(7, 6), hspace=0.12)
    accuracy_axes = figure.add_subplot(top[0, 0])
    loss_axes = figure.add_subplot(top[1, 0], sharex=accuracy_axes)
    _draw_accuracy(accuracy_axes, accuracies, best, 100 / len(labels))
    _draw_loss(loss_axes, losses)
    _draw_confusion(figure.add_subplot(top[:, 1]), labels, predictions, best)

    wrong = np.flatnonzero(predictions != labels)
    sure = probabilities[wrong, predictions[wrong]]
    shown = wrong[np.argsort(-sure)][:MISREAD]
    count = f"all {len(wrong)}" if len(wrong) == len(shown) else f"the {MISREAD} surest of {len(wrong)}"
    heading = f"Misread by epoch {best}: {count}   (what it is → what was read, how sure the network was)"
    figure.text(0.03, 0.412, heading, fontsize=12)
    _draw_misread(figure.add_axes((0.03, 0.01, 0.94, 0.393)), images, labels, probabilities, shown)
    path = folder / "report.png"
    with atomic_write(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # it draws a box for a letter that its font lacks
        figure.savefig(file)
    return path


def _draw_misread(axes, images, labels, probabilities, shown):
    height, width = 36, 39  # of a digit with its title and margin, in its own pixels
    sheet = np.zeros((MISREAD // 10 * height, 10 * width), np.uint8)  # one image: 40 axes would take half a second
    for number, digit in enumerate(shown):
        row, column = divmod(number, 10)
        y, x = row * height + 7, column * width + 5
        sheet[y : y + 28, x : x + 28] = images[digit]
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 28, 28, fill=False))
        read = probabilities[digit].argmax()
        title = f"{labels[digit]} → {read}   {probabilities[digit, read]:.0%}"
        axes.text(x + 13.5, y - 2, title, ha="center", va="bottom", fontsize=10)
    axes.imshow(sheet, cmap="gray_r", vmax=255, interpolation="nearest")
    axes.set_axis_off()


def _draw_accuracy(axes, accuracies, best, smallest_error):
    # On a logarithmic axis of errors 99.0 and 99.8 lie as far apart as 95 and 99; no error is drawn as half a digit.
    errors = [max(100 - accuracy, smallest_error / 2) for accuracy in accuracies.values()]
    axes.semilogy(list(accuracies), errors, marker="o", markersize=4)
    at_best = list(accuracies).index(best)
    axes.plot(best, errors[at_best], marker="*", markersize=15, color="C3")
    text = f"best: {accuracies[best]:.2f} % (epoch {best})"
    side = "right" if best > max(accuracies) / 2 else "left"
    axes.annotate(text, (best, errors[at_best]), (0, 11), textcoords="offset points", ha=side, color="C3")
    ticks = [0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 50, 90]
    low, high = min(errors) * 0.6, max(*errors, min(errors) * 2) * 1.1
    axes.set_ylim(high, low)
    axes.set_yticks(
        [tick for tick in ticks if low <= tick <= high], [f"{100 - t:g}" for t in ticks if low <= t <= high]
    )
    axes.minorticks_off()
    axes.tick_params(labelbottom=False)
    axes.set_ylabel("test accuracy, %")
    axes.grid(alpha=0.3)


def _draw_loss(axes, losses):
    if losses:
        axes.plot(list(losses), list(losses.values()), marker="o", markersize=4, color="C1")
        if max(losses.values()) > 4 * min(losses.values()) > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.text(0.5, 0.5, "no training_log.csv in the folder", ha="center", transform=axes.transAxes)
    axes.set(xlabel="epoch", ylabel="training loss")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)  # one epoch, one tick
    axes.grid(alpha=0.3)


def _draw_confusion(axes, labels, predictions, best):
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predictions), 1)
    errors = counts * (1 - np.eye(10, dtype=int))  # coloured by errors alone: the diagonal would drown them
    axes.imshow(errors, cmap="Reds", vmax=max(errors.max(), 1) * 1.4)
    for label in range(10):
        axes.add_patch(Rectangle((label - 0.5, label - 0.5), 1, 1, color="0.9"))
        for read in range(10):
            if counts[label, read]:
                style = {"color": "0.4", "fontsize": 8} if label == read else {"color": "black", "fontsize": 11}
                axes.text(read, label, counts[label, read], ha="center", va="center", **style)
    axes.set(xticks=range(10), yticks=range(10), xlabel="read as", ylabel="is")
    axes.set_title(f"Epoch {best}: {errors.sum()} of {len(labels):,} misread", fontsize=12)


def _title_and_losses(folder):
    """What a run's folder tells of its training: a title of two or three lines, and a dict from epoch to loss."""
    settings = read_json(folder / "settings.json")
    names = [f"{name} = {value}" for name, value in settings.get("hyperparameters", {}).items()]
    half = (len(names) + 1) // 2
    lines = [names[:half], [*names[half:], f"{settings.get('device')}, {settings.get('precision')}"]]
    if not names:  # a run from elsewhere may lack it
        lines = [["no settings.json in the folder"]]
    title = "\n".join([f"myCNN, {folder.name}", *map(", ".join, lines)])
    return title, read_column(folder / "training_log.csv", "loss")
