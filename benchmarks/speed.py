"""The speed figures of the README: python benchmarks/speed.py

Measures a training step done the lab report's way (DataLoader, ToTensor for each digit, float32, default Adam, the
loss on the bar at every step); train.py's own step, imported, as it is and with one of its changes undone at a time;
a step of pytorch/examples' network and loop; and the machine's limit. Each way trains in a process of its own, because
denormals and the allocator are settings of a process. All ways of the same network start from the same 1,000 steps of
real training, and each is timed in turn with the lab report's way: one works while the other waits.
"""

import io
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import Compose, Normalize, PILToTensor, ToTensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent))
import train
from Model import myCNN
from support.device import best_device, best_precision, device_name, memory_format, tune_cpu
from support.files import unpack_mnist

TRAINED = 1000  # steps: by then most of Adam's moments of dead units are denormal, if these are not flushed
WARM_UP = 15  # steps of each way, which are not timed
ROUNDS, STEPS = 4, 6  # of each way, timed in turn with the lab report's
TRIES = 10  # of what the machine's limit is measured with; the shortest counts
BATCH_SIZE, STEPS_PER_EPOCH = 64, 938
SPAWN = multiprocessing.get_context("spawn")

REPORT, EXAMPLES = "the lab report's way", "pytorch/examples' network and loop"
QUICK = "`train.py`, the quick recipe's narrow network"
QUICK_RECIPE = {"DIM_HIDDEN": [16, 48, 96, 128, 64], "LEARNING_RATE": 0.003}
REPORT_RECIPE = {"LR_SCHEDULE": "constant", "AUGMENT": False, "LABEL_SMOOTHING": 0.0}
CHANGES = (  # what train.py does differently from the lab report; each is undone alone
    "the digits in one tensor",
    "denormals flushed",
    "freed memory kept",
    "Adam fused",
    "channels_last",
    "pooling before ReLU",
    "bfloat16",
)


class ReportCNN(myCNN):
    """myCNN as in the lab report: ReLU, then pooling."""

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.relu(self.bn3(self.conv3(x)))
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


def steps_of_the_report(device, trained):
    """A generator that takes a training step the lab report's way at each next(), starting from the file `trained`."""
    model = ReportCNN().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    load_trained(trained, model, optimizer)
    return steps_of_a_loader(device, model, optimizer, ToTensor())


def steps_of_the_examples(device, _):
    """A generator that takes a training step of pytorch/examples' mnist, in its own way, at each next()."""
    convolutions = nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)
    linear = nn.Flatten(), nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)
    model = nn.Sequential(*convolutions, *linear).to(device)
    transform = Compose([ToTensor(), Normalize((0.1307,), (0.3081,))])
    return steps_of_a_loader(device, model, torch.optim.Adadelta(model.parameters(), lr=1.0), transform)


def steps_of_a_loader(device, model, optimizer, transform):
    """A generator that takes a training step of a DataLoader, with the loss on the bar, at each next()."""
    loader = DataLoader(MNIST(train.DATA_DIR, train=True, transform=transform), batch_size=BATCH_SIZE, shuffle=True)
    criterion = nn.CrossEntropyLoss()
    while True:
        bar = tqdm(loader, file=io.StringIO())
        for images, labels in bar:
            loss = criterion(model(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            bar.set_postfix(loss=loss.item())
            yield


def steps_of_train(device, undone=None, trained=None):
    """A generator that takes train.py's own training step at each next(), with one of the CHANGES undone, starting from
    the file `trained` if any, and yields the network and the optimizer."""
    if undone == "freed memory kept":
        torch.set_flush_denormal(True)
    else:
        tune_cpu()
    if undone == "denormals flushed":
        torch.set_flush_denormal(False)
    precision = torch.float32 if undone == "bfloat16" else best_precision(device)
    network = ReportCNN if undone == "pooling before ReLU" else myCNN
    layout = torch.contiguous_format if undone == "channels_last" else memory_format(device)
    model = network(train.DIM_HIDDEN).to(device, memory_format=layout).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=train.LEARNING_RATE, fused=undone != "Adam fused")
    if trained:
        load_trained(trained, model, optimizer)
    scheduler = train.make_scheduler(optimizer, 20 * STEPS_PER_EPOCH)
    while True:
        for images, labels in batches(device, undone):
            train.train_step(model, optimizer, scheduler, images, labels, precision)
            yield model, optimizer


def save_trained(path):
    """Train by the lab report's recipe, with denormals, and save network and optimizer; to be run in its own process.

    Denormals come with the number of steps, whatever the batch size: small batches take less time.
    """
    with mock.patch.multiple(train, BATCH_SIZE=16, **REPORT_RECIPE):
        torch.manual_seed(0)
        *_, trained = islice(steps_of_train(best_device(), "denormals flushed"), TRAINED)
    torch.save([one.state_dict() for one in trained], path)


def load_trained(path, model, optimizer):
    """Load what save_trained saved into a network and its Adam, fused or not."""
    network, adam = torch.load(path, map_location="cpu")
    model.load_state_dict(network)
    optimizer.load_state_dict(adam | {"param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, state in optimizer.state.items():
        for name in ("exp_avg", "exp_avg_sq"):  # in the memory layout of this network
            state[name] = torch.empty_like(parameter).copy_(state[name])


def batches(device, undone):
    """An epoch's batches, on the device: a generator of (uint8 images, labels)."""
    if undone == "the digits in one tensor":
        data = MNIST(train.DATA_DIR, train=True, transform=PILToTensor())
        for images, labels in DataLoader(data, train.BATCH_SIZE, shuffle=True):
            yield images.to(device), labels.to(device)
    else:
        images, labels = train.load_mnist(train=True, device=device)
        for batch in torch.randperm(len(images), device=device).split(train.BATCH_SIZE):
            yield images[batch], labels[batch]


def work(connection, settings, undone, trained):
    """A process that trains one way: it receives a number of steps, takes them, and sends back the seconds."""
    device = best_device()
    torch.manual_seed(0)
    with mock.patch.multiple(train, BATCH_SIZE=BATCH_SIZE, **settings):
        others = {REPORT: steps_of_the_report, EXAMPLES: steps_of_the_examples}
        steps = others[undone](device, trained) if undone in others else steps_of_train(device, undone, trained)
        while count := connection.recv():
            connection.send(timed(device, list, islice(steps, count)))


def start(settings, undone, trained):
    """Start a process that trains one way, REPORT, EXAMPLES or train.py's, with settings and one of the CHANGES undone.

    Returns the connection to it.
    """
    connection, other = SPAWN.Pipe()
    SPAWN.Process(target=work, args=(other, settings, undone, trained), daemon=True).start()
    other.close()  # so that recv ends if the process fails
    connection.send(WARM_UP)
    connection.recv()
    return connection


def timed(device, function, *arguments):
    """How many seconds a call takes, until the device has finished it."""
    start = time.perf_counter()
    function(*arguments)
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start


def floor(device, precision):
    """The minimum time of a training step, in seconds: the bytes it must move divided by the bandwidth, plus the
    operations it must compute divided by the rate of matrix products; and both in words."""
    one, other = (torch.ones(64_000_000, device=device) for _ in range(2))  # much larger than the caches
    speed = 3 * one.nbytes / min(timed(device, one.add_, other) for _ in range(TRIES))  # bytes a second
    left, right = (torch.randn(4096, 4096, device=device, dtype=precision) for _ in range(2))
    rate = 2 * 4096**3 / min(timed(device, torch.matmul, left, right) for _ in range(TRIES))  # operations a second
    parameters = sum(p.numel() for p in myCNN().parameters())
    moved = 7 * 4 * parameters + 3 * 4 * 25088 * 1024  # Adam's four reads and three writes; fc1's three products
    inputs = 28 * 28 * 9 * 32 + 14 * 14 * 32 * 9 * 128 + 7 * 7 * 128 * 9 * 512 + 25088 * 1024 + 1024 * 256 + 256 * 10
    computed = 3 * 2 * inputs * BATCH_SIZE  # forward, and backward to the inputs and to the weights
    words = f"{moved / 1e6:.0f} MB at {speed / 1e9:.0f} GB/s + {computed / 1e9:.1f} GFLOP at {rate / 1e12:.2f} TFLOP/s"
    return moved / speed + computed / rate, words


def main():
    """Measure everything and print the tables, in Markdown."""
    device = best_device()
    precision = best_precision(device)
    unpack_mnist(train.DATA_DIR)
    print(f"{device_name(device)}, {str(precision).removeprefix('torch.')}, PyTorch {torch.__version__}\n")
    changes = CHANGES if precision == torch.bfloat16 else CHANGES[:-1]
    ways = {  # settings for train.py, what is undone
        "`train.py`, the lab report's recipe": (REPORT_RECIPE, None),
        "`train.py`, its own recipe": ({}, None),
        QUICK: (QUICK_RECIPE, None),
        EXAMPLES: ({}, EXAMPLES),
    } | {f"without: {change}": (REPORT_RECIPE, change) for change in changes}
    times = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        trained = Path(folder) / "trained.pt"
        with SPAWN.Pool(1) as pool:
            pool.apply(save_trained, (trained,))
        report = start({}, REPORT, trained)
        for way, (settings, undone) in tqdm(ways.items(), disable=None, leave=False):
            other = start(settings, undone, None if way == QUICK else trained)
            for name, connection in ((REPORT, report), (way, other)) * ROUNDS:
                connection.send(STEPS)
                times[name].append(connection.recv() / STEPS)
            other.send(0)

    print("| batch 64 | ms a step | s an epoch | times as fast |\n" + "| --- " * 4 + "|")
    for way in times:
        step = statistics.median(times[way])
        ratio = statistics.median(times[REPORT]) / step
        print(f"| {way} | {step * 1e3:.1f} | {step * STEPS_PER_EPOCH:.1f} | {ratio:.2f} |")
    least, words = floor(device, precision)
    print(f"| the machine's limit: {words} | {least * 1e3:.1f} | {least * STEPS_PER_EPOCH:.1f} | |")


if __name__ == "__main__":
    main()
