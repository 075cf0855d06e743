"""Test every epoch of a run on the 10,000 MNIST test digits, or read images of your own handwriting.

python test.py                          the newest run
python test.py checkpoints/run-001      that run
python test.py photo.png more/ *.jpg    images, or folders of them, read by the newest run's best epoch
python test.py --draw                   a page to draw digits on, read by the same; both also take a run's name
"""

from support.errors import UserError, check_output, one_line_errors, start_script

if __name__ == "__main__":
    start_script()  # before the imports that take seconds

import gc
import os
import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

from handwriting.results import read_images
from Model import load_parameters
from support import device as devices
from support.files import shown, write_csv
from support.predicting import BATCH_SIZE, predict
from support.runs import all_runs, best_epoch, epoch_files, is_run, newest_run, saved_epochs
from train import CHECKPOINTS_DIR, load_mnist


def test_run(folder):
    """Print each epoch's accuracy, correct / total * 100 %, and the best one; write accuracy.csv and report.png.

    folder: a run's. Returns the exit code: 1 where an epoch's file is damaged, else 0.
    """
    from support.report import draw_report  # here, because nothing else needs Matplotlib

    epochs = saved_epochs(folder)
    print(f"predicting ... {shown(folder)}", flush=True)
    images, labels = load_mnist(train=False, device=devices.CPU)
    total = len(labels)
    correct, best, device = {}, None, None
    bar = tqdm(epochs.items(), unit=" epochs", disable=None, leave=False)
    for epoch, path in bar:
        try:
            model = load_parameters(path)
            device = device or devices.trusted_device(model, images, BATCH_SIZE)[0]
            model.to(device, memory_format=devices.memory_format(device))
            logits = predict(model, images.to(device)).cpu()
        except UserError as error:
            bar.write(f"error: epoch {epoch}: {error}", file=sys.stderr)
            continue
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
    probabilities = best_logits.softmax(1).numpy()
    picture = draw_report(folder, accuracies, images[:, 0].numpy(), labels.numpy(), probabilities)
    print(f"pictures in {shown(picture)}")
    return 0 if len(correct) == len(epochs) else 1


def reading_model(run=None):
    """The best epoch of a run, a myCNN in eval mode on the CPU, and the folder for the pictures.

    Without a run it is the newest that has an epoch, or the small network that comes with the program, whose folder
    is left as it is: its pictures go to the current one.
    """
    trained = [folder for folder in all_runs(CHECKPOINTS_DIR) if epoch_files(folder)]
    run = run or (trained or [CHECKPOINTS_DIR / "small"])[-1]
    epoch, path = best_epoch(run)
    model = load_parameters(path).eval()  # on the CPU: a photo's few digits are read before a GPU is ready
    print(f"reading with epoch {epoch} of {shown(run)}", flush=True)
    return model, Path.cwd() if run.name == "small" else run


def main(arguments=()):
    """Test a run, read images, or serve the page to draw on, as the command line says. Returns the exit code."""
    devices.tune_cpu()
    if options := [argument for argument in arguments if argument.startswith("-") and argument != "--draw"]:
        raise UserError(f"there is no option {options[0]}: python test.py [--draw] [run] [images, or folders of them]")
    paths = [Path(argument) for argument in arguments if argument != "--draw"]
    if len(paths) == 1 and not os.path.exists(paths[0]):  # noqa: PTH110 (the other raises at too long a name)
        raise UserError(f"{paths[0]} is not there: name a run, such as checkpoints/run-001, or an image")
    runs, images = [path for path in paths if is_run(path)], [path for path in paths if not is_run(path)]
    if len(runs) > 1:
        raise UserError(f"{runs[0]} and {runs[1]} are two runs: name one")
    if "--draw" in arguments:
        if images:
            raise UserError(f"{images[0]} is no run: name one beside --draw, and drop images onto the page")
        from handwriting.page import serve  # here, because nothing else needs Flask

        model, _ = reading_model(*runs)
        return serve(model, partial(predict, model))
    if images:
        model, folder = reading_model(*runs)
        return read_images(images, partial(predict, model), folder)
    return test_run(*runs or [newest_run(CHECKPOINTS_DIR)])


if __name__ == "__main__":
    gc.freeze()  # what the imports made is needed to the end: looking through it for garbage takes almost a second
    with one_line_errors():
        sys.exit(main(sys.argv[1:]) or check_output())
