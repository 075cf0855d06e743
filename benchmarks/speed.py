"""The speed figures of the README: python benchmarks/speed.py

Measures a training step done the report's way (DataLoader, ToTensor for each digit, float32, Adam as it comes, the
loss on the bar at every step), train.py's own step, imported, as it is and with one of its changes undone at a
time, and a step of pytorch/examples' network and loop; then how far that is from the machine's limit, other batch
sizes, and the scripts' start. Each way trains in a process of its own, for denormals and the allocator's settings
belong to a process. All ways of the same network go on from the same 1,000 steps of real training, and each is timed in
turn with the report's way, one at work while the other waits. Took 7 minutes on two cores of an AMD Zen 4.
"""

import io
import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import Compose, Normalize, PILToTensor, ToTensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent))
import train
from Model import myCNN, save_parameters
from support import device as devices

TRAINED = 1000  # steps: by then most of Adam's moments of dead units are denormal, where they are not flushed
WARM_UP = 15  # steps of each way
ROUNDS, STEPS = 4, 6  # timed in turn
STEPS_PER_EPOCH = 938
BATCH_SIZES = (32, 64, 128, 256, 512, 1024)
SPAWN = multiprocessing.get_context("spawn")

REPORT, EXAMPLES = "the report's way", "pytorch/examples' network and loop"
QUICK = "`train.py`, the quick recipe's narrow network"
QUICK_RECIPE = {"DIM_HIDDEN": [16, 48, 96, 128, 64], "LEARNING_RATE": 0.003}
REPORT_RECIPE = {"LR_SCHEDULE": "constant", "AUGMENT": False, "LABEL_SMOOTHING": 0.0}
CHANGES = (  # what train.py does otherwise than the report; each is undone alone
    "the digits in one tensor",
    "denormals flushed",
    "freed memory kept",
    "Adam fused",
    "channels_last",
    "pooling before ReLU, gradients in one layout",
    "bfloat16",
)


class ReportCNN(myCNN):
    """myCNN as the report writes it: ReLU, then pooling."""

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.relu(self.bn3(self.conv3(x)))
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


def steps_of_the_report(device, trained):
    """A generator that takes a training step the report's way at each next(), going on from the file `trained`."""
    model = ReportCNN().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    load_trained(trained, model, optimizer)
    return steps_of_a_loader(device, model, optimizer, ToTensor())


def steps_of_the_examples(device, _):
    """A generator that takes a training step of pytorch/examples' mnist, as it is described, at each next()."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(32, 64, 3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Dropout(0.25),
        torch.nn.Flatten(),
        torch.nn.Linear(64 * 12 * 12, 128),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(128, 10),
    ).to(device)
    transform = Compose([ToTensor(), Normalize((0.1307,), (0.3081,))])
    return steps_of_a_loader(device, model, torch.optim.Adadelta(model.parameters(), lr=1.0), transform)


def steps_of_a_loader(device, model, optimizer, transform):
    """A generator that takes a training step of a DataLoader, with the loss on the bar, at each next()."""
    loader = DataLoader(MNIST(train.DATA_DIR, train=True, transform=transform), batch_size=64, shuffle=True)
    criterion = torch.nn.CrossEntropyLoss()
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
    """A generator that takes train.py's own training step at each next(), with one of the CHANGES undone, going on from
    the file `trained` if any, and gives the network and the optimizer."""
    if undone == "freed memory kept":
        torch.set_flush_denormal(True)
    else:
        devices.tune_cpu()
    if undone == "denormals flushed":
        torch.set_flush_denormal(False)
    precision = torch.float32 if undone == "bfloat16" else devices.best_precision(device)
    network = ReportCNN if undone == "pooling before ReLU, gradients in one layout" else myCNN
    layout = torch.contiguous_format if undone == "channels_last" else devices.memory_format(device)
    model = network(train.DIM_HIDDEN).to(device, memory_format=layout).train()
    fused = undone != "Adam fused" and devices.has_fused_adam(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=train.LEARNING_RATE, fused=fused)
    if trained:
        load_trained(trained, model, optimizer)
    scheduler = train.make_scheduler(optimizer, 20 * STEPS_PER_EPOCH)
    while True:
        for images, labels in batches(device, undone):
            train.train_step(model, optimizer, scheduler, images, labels, precision)
            yield model, optimizer


def save_trained(path):
    """Train by the report's recipe, with denormals, and save network and optimizer; to be run in its own process.

    Denormals come with steps, however small: small batches take less time.
    """
    with mock.patch.multiple(train, BATCH_SIZE=16, **REPORT_RECIPE):
        torch.manual_seed(0)
        *_, trained = islice(steps_of_train(devices.best_device(), "denormals flushed"), TRAINED)
    torch.save([one.state_dict() for one in trained], path)


def load_trained(path, model, optimizer):
    """Set a network and its Adam, however that is computed, to what save_trained saved."""
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


def peak_memory():
    """The most memory this process has had, in GB, from Linux; ru_maxrss would count the parent's too."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1e6


def work(connection, settings, undone, batch_size, trained):
    """A process that trains one way: it takes as many steps as it is sent, and sends back (seconds, GB at the peak)."""
    device = devices.best_device()
    imported = peak_memory()
    torch.manual_seed(0)
    with mock.patch.multiple(train, BATCH_SIZE=batch_size, **settings):
        others = {REPORT: steps_of_the_report, EXAMPLES: steps_of_the_examples}
        steps = others[undone](device, trained) if undone in others else steps_of_train(device, undone, trained)
        while count := connection.recv():
            start = time.perf_counter()
            for _ in range(count):
                next(steps)
            if device.type != "cpu":
                torch.accelerator.synchronize()
            connection.send((time.perf_counter() - start, peak_memory() - imported))


class Worker:
    """A process that trains one way: with settings for train.py, and one of the CHANGES undone, or as others do."""

    def __init__(self, settings, undone=None, batch_size=64, trained=None):
        self.connection, other = SPAWN.Pipe()
        self.process = SPAWN.Process(target=work, args=(other, settings, undone, batch_size, trained), daemon=True)
        self.process.start()

    def step(self, count):
        """Take steps: (seconds, GB at the peak above the imports)."""
        self.connection.send(count)
        return self.connection.recv()

    def stop(self):
        self.connection.send(0)
        self.process.join()


def bandwidth(device):
    """Bytes a second at which arrays much larger than the caches are read and written."""
    one, other = (torch.ones(64_000_000, device=device) for _ in range(2))
    return 3 * one.nbytes / best_time(lambda: one.add_(other), device)


def matrix_rate(device, precision):
    """Operations a second of a large matrix product."""
    one, other = (torch.randn(4096, 4096, device=device, dtype=precision) for _ in range(2))
    return 2 * 4096**3 / best_time(lambda: one @ other, device)


def best_time(function, device, tries=10):
    """The shortest of several calls, in seconds."""
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        function()
        if device.type != "cpu":
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def floor(device, precision, batch_size=64):
    """The least time of a training step, in seconds: what it must move over the bandwidth, plus what it must compute
    over the matrix rate; and both in words."""
    rate, speed = matrix_rate(device, precision), bandwidth(device)
    parameters = sum(p.numel() for p in myCNN().parameters())
    moved = 7 * 4 * parameters + 3 * 4 * 25088 * 1024  # Adam's four reads and three writes; fc1's three products
    inputs = 28 * 28 * 9 * 32 + 14 * 14 * 32 * 9 * 128 + 7 * 7 * 128 * 9 * 512 + 25088 * 1024 + 1024 * 256 + 256 * 10
    computed = 3 * 2 * inputs * batch_size  # forward, and backward to the inputs and to the weights
    words = f"{moved / 1e6:.0f} MB at {speed / 1e9:.0f} GB/s + {computed / 1e9:.1f} GFLOP at {rate / 1e12:.2f} TFLOP/s"
    return moved / speed + computed / rate, words


def time_of(*command):
    """How long a Python command takes from its start to its end, in seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=train.ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


FIRST_STEP = """
import os, sys, train
from pathlib import Path
train.CHECKPOINTS_DIR = Path(sys.argv[1])
step = train.train_step
train.train_step = lambda *arguments: (step(*arguments), os._exit(0))
train.main()
"""
TEST_MEMORY = """
import sys, torch
peak = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
imported = peak()
import test
test.main([sys.argv[1]])
print((peak() - imported) / 1e6)
"""


def main():
    """Measure everything and print the tables, in Markdown."""
    device = devices.best_device()
    precision = devices.best_precision(device)
    MNIST(train.DATA_DIR, download=True)  # unpacks the archives, which train.py does not need
    print(f"{devices.device_name(device)}, {str(precision).removeprefix('torch.')}, PyTorch {torch.__version__}\n")
    changes = CHANGES if precision == torch.bfloat16 else CHANGES[:-1]
    ways = {  # settings for train.py, what is undone
        "`train.py`, the report's recipe": (REPORT_RECIPE, None),
        "`train.py`, its own recipe": ({}, None),
        QUICK: (QUICK_RECIPE, None),
        EXAMPLES: ({}, EXAMPLES),
    } | {f"without: {change}": (REPORT_RECIPE, change) for change in changes}
    times, reports, ratios, memory, by_size = {}, [], {}, {}, {}
    limit = floor(device, precision)  # and again at the end: the machine may be busy with something else
    bar = tqdm(total=len(ways) + 2 + len(BATCH_SIZES), disable=None, leave=False)
    with bar, tempfile.TemporaryDirectory() as folder:
        trained = Path(folder) / "trained.pt"
        bar.set_description(f"{TRAINED:,} steps")
        process = SPAWN.Process(target=save_trained, args=(trained,))
        process.start()
        process.join()
        bar.update()
        report = Worker({}, REPORT, trained=trained)
        report.step(WARM_UP)
        bar.update()
        for way, (settings, undone) in ways.items():
            bar.set_description(way)
            worker = Worker(settings, undone, trained=None if way == QUICK else trained)
            worker.step(WARM_UP)
            pairs = [(report.step(STEPS), worker.step(STEPS)) for _ in range(ROUNDS)]
            worker.stop()
            theirs, times[way] = (
                statistics.median(seconds for seconds, _ in one) / STEPS for one in zip(*pairs, strict=True)
            )
            reports.append(theirs)
            ratios[way] = theirs / times[way]
            memory[REPORT], memory[way] = (gigabytes for _, gigabytes in pairs[-1])
            bar.update()
        report.stop()
        for size in BATCH_SIZES:
            bar.set_description(f"batch size {size}")
            worker = Worker({}, batch_size=size, trained=trained)
            count = max(3, 2000 // size)
            worker.step(3)
            by_size[size] = worker.step(count)[0] / count
            worker.stop()
            bar.update()
        bar.set_description("python test.py, python train.py")
        model = myCNN()
        model.load_state_dict(torch.load(trained, mmap=True, map_location="cpu")[0])
        run = Path(folder) / "run-001"
        run.mkdir()
        save_parameters(model, run / "epoch_00.npz")
        tested = min(time_of("test.py", run) for _ in range(2))
        output = subprocess.run(
            [sys.executable, "-c", TEST_MEMORY, run], cwd=train.ROOT, check=True, capture_output=True, text=True
        ).stdout
        started = min(time_of("-c", FIRST_STEP, f"{folder}/{number}") for number in range(2))

    times = {REPORT: statistics.median(reports)} | times
    print("| batch 64 | ms a step | s an epoch | times as fast | peak memory above the imports, GB |")
    print("| --- | --- | --- | --- | --- |")
    for way, seconds in times.items():
        ratio = ratios.get(way, 1)
        print(f"| {way} | {seconds * 1e3:.1f} | {seconds * STEPS_PER_EPOCH:.1f} | {ratio:.2f} | {memory[way]:.2f} |")
    least, words = min(limit, floor(device, precision))
    print(f"| the machine's limit: {words} | {least * 1e3:.1f} | {least * STEPS_PER_EPOCH:.1f} | | |\n")
    for way in list(ways)[:2]:
        print(f"{way}: {times[way] / least:.2f} times this limit")

    print("\n| batch size, train.py's own recipe | ms a step | s an epoch |\n| --- | --- | --- |")
    for size, seconds in by_size.items():
        print(f"| {size} | {seconds * 1e3:.1f} | {seconds * -(-60_000 // size):.1f} |")

    print("\n| from the start of the command | s |\n| --- | --- |")
    print(f"| python train.py, to the end of its first step | {started:.1f} |")
    print(f"| python test.py, one checkpoint tested, its picture drawn | {tested:.1f} |")
    print(f"\npython test.py: {float(output.split()[-1]):.2f} GB at the peak above `import torch`")


if __name__ == "__main__":
    main()
