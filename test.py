"""Test every epoch of a run on MNIST's 10,000 test digits, or read handwriting.

python test.py [checkpoints/run-001]    test the newest run, or the one named
python test.py photo.jpg more/ '*.png'  read images, PDFs and folders of them
python test.py --draw                   open a page to draw digits on

Pictures may be PNG, JPEG, HEIC, AVIF, WebP, BMP, GIF, TIFF or PDF. The newest
run reads them, or the run that you name; if there is none, checkpoints/small.
The numbers are printed ("page.jpg: 2102   unsure: ..."); own_digits.csv and
.png are saved in the run's folder, or, if checkpoints/small reads, in the
current folder. Put -- before a file name that begins with -.
"""

from support.errors import ArgumentParser, UserError, exit_with, one_line_errors

if __name__ == "__main__":
    one_line_errors()  # before the imports, which take seconds

import sys
from pathlib import Path

from tqdm import tqdm

from handwriting import SMALL
from handwriting.page import serve
from handwriting.results import find_files, read_images
from Model import load_parameters
from support.device import memory_format, predict, trusted_device, tune_cpu
from support.files import shown, write_csv
from support.runs import epoch_files, is_run, last_epoch, newest_run
from train import CHECKPOINTS_DIR, load_mnist


def test_run(folder):
    """Print the accuracy of a run's epochs; write accuracy.csv, report.png. Returns 1 if a file is damaged, else 0."""
    from support.report import draw_report  # here, because nothing else needs Matplotlib

    epochs = epoch_files(folder)
    print(f"predicting ... {shown(folder)}", flush=True)
    images, labels = load_mnist(train=False, device="cpu")
    accuracies, device = {}, None
    for epoch, path in (bar := tqdm(epochs.items(), unit=" epochs", disable=None, leave=False)):
        try:
            model = load_parameters(path)
        except UserError as error:
            bar.write(f"error: epoch {epoch}: {error}", file=sys.stderr)
            continue
        device = device or trusted_device(model, images, labels, "float32")[0]
        logits = predict(model.to(device, memory_format=memory_format(device)), images.to(device)).cpu()
        accuracies[epoch] = (logits.argmax(1) == labels).sum().item() / len(labels) * 100  # correct / total
        bar.write(f"epoch {epoch:2d}: {accuracies[epoch]:.4f} %")
        if epoch == (best := max(accuracies, key=accuracies.get)):
            probabilities = logits.softmax(1).numpy()
    if accuracies:
        print(f"best accuracy: {accuracies[best]:.4f} % (epoch {best})", flush=True)
        write_csv(folder / "accuracy.csv", ("epoch", "accuracy"), [(e, f"{a:.4f}") for e, a in accuracies.items()])
        draw_report(folder, accuracies, best, images[:, 0].numpy(), labels.numpy(), probabilities)
        print(f"pictures in {shown(folder / 'report.png')}")
    return 0 if len(accuracies) == len(epochs) else 1


def main(arguments=()):
    """Test a run, read images, or serve the page to draw on, as the command line says. Returns the exit code."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("paths", nargs="*", type=Path, metavar="path", help="a run's folder, images or folders of them")
    parser.add_argument("--draw", action="store_true", help="open the page to draw on")
    options = parser.parse_args(sorted(arguments, key="--draw".__ne__))  # options first, as argparse wants them
    runs = [path for path in options.paths if is_run(path)]
    images = [path for path in options.paths if path not in runs]
    if len(runs) > 1 or (options.draw and images):
        parser.error("name at most one run, and no images with --draw")
    if images and not any(path.exists() for path in find_files(images)[0]):
        return read_images(images, None, None)  # which names each
    tune_cpu()
    run = runs[0] if runs else newest_run(CHECKPOINTS_DIR, SMALL if images or options.draw else CHECKPOINTS_DIR)
    epoch, path = last_epoch(run)
    if not (images or options.draw):
        return test_run(run)
    print(f"reading with epoch {epoch} of {shown(run)}", file=sys.stderr)
    if epoch < max(epoch_files(SMALL), default=0):
        print(f"it was trained for fewer epochs than {shown(SMALL)}, which may read better", file=sys.stderr)
    model = load_parameters(path)  # stays on the CPU: a photo's few digits are read before a GPU is ready
    if options.draw:
        return serve(model)
    return read_images(images, model, Path.cwd() if run.resolve() == SMALL.resolve() else run)


if __name__ == "__main__":
    exit_with(main(sys.argv[1:]))
