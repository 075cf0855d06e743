"""Accelerators: none is at hand, so their place is taken by fake tensors and by a second CPU that is made to fail."""

import ctypes
import json
import os
import subprocess
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from conftest import SMALL
from torch._subclasses import fake_tensor
from torch.utils._python_dispatch import TorchDispatchMode

import test
import train
from Model import myCNN, save_parameters
from support import device as devices
from support import predicting

ACCELERATOR = torch.device("cpu", 0)  # the CPU again, but not devices.CPU


@pytest.fixture
def digits(training_digits):
    images, labels = training_digits
    return images[:512], labels[:512]


@pytest.fixture(scope="module")
def model(training_digits):
    """A network that has learnt a little: the logits of a new one hardly depend on the digits in eval mode."""
    images, labels = training_digits
    torch.manual_seed(0)
    model = myCNN(SMALL)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    scheduler = train.make_scheduler(optimizer, 100)
    for batch in torch.arange(6400).split(64):
        train.train_step(model, optimizer, scheduler, images[batch], labels[batch], torch.float32)
    model.zero_grad()
    return model


@pytest.fixture
def accelerator(monkeypatch):
    """An accelerator that computes as the CPU does, but for what its `fault`, a context manager, changes."""
    accelerator, trial = SimpleNamespace(fault=nullcontext()), devices._trial

    def trial_with_fault(model, images, batch_size, device, *others):
        with accelerator.fault if device == ACCELERATOR else nullcontext():
            return trial(model, images, batch_size, device, *others)

    monkeypatch.setattr(devices, "_trial", trial_with_fault)
    monkeypatch.setattr(devices, "best_device", lambda: ACCELERATOR)
    monkeypatch.setattr(devices, "device_name", lambda device: "Brand X" if device == ACCELERATOR else "CPU")
    return accelerator


def check(model, digits, in_training=True, precision="float32", batch_size=64):
    """The device that trusted_device gives for a model: to train it, or to test it."""
    images, labels = digits
    training = (labels, train.loss_function, train.train_step) if in_training else ()
    return devices.trusted_device(model, images, batch_size, precision, *training)[0]


def changed(owner, name, change):
    """A context in which the function owner.name gives `change` of what it gives."""
    function = getattr(owner, name)
    return mock.patch.object(owner, name, lambda *args, **kwargs: change(function(*args, **kwargs)))


def raising(error, if_longer_than=0):
    """A context in which convolutions of more digits than that raise an error."""
    function = F.conv2d

    def conv2d(x, *others):
        if len(x) > if_longer_than:
            raise error
        return function(x, *others)

    return mock.patch("torch.nn.modules.conv.F.conv2d", conv2d)


def with_gradient_times(factor):
    """A function that passes a tensor on, and its gradient multiplied."""

    def change(x):
        if x.requires_grad:
            x.register_hook(lambda grad: grad * factor)
        return x

    return change


FAULTS = {
    "NaN": lambda: changed(F, "relu", lambda x: x * float("nan")),
    "other activations": lambda: changed(F, "relu", lambda x: x.flip(0)),
    "pools turned": lambda: changed(F, "max_pool2d", lambda x: x.transpose(2, 3)),
    "logits of other digits": lambda: changed(torch.nn.Linear, "forward", lambda x: x.roll(1, 0)),
}
TRAINING_FAULTS = {
    "no gradient": lambda: changed(F, "max_pool2d", with_gradient_times(0.0)),
    "a huge gradient": lambda: changed(F, "max_pool2d", with_gradient_times(1e6)),
    "a NaN gradient": lambda: changed(F, "max_pool2d", with_gradient_times(float("nan"))),
    "no step": lambda: mock.patch.object(torch.optim.Adam, "step", lambda self: None),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("in_training", [True, False])
def test_a_device_that_computes_as_the_cpu_does_is_used(accelerator, model, digits, capsys, precision, in_training):
    for network in (myCNN(SMALL), myCNN(SMALL), model):
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        assert check(network, digits, in_training, precision) == ACCELERATOR
        assert network.training
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
        assert all(parameter.grad is None for parameter in network.parameters())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("fault", [*FAULTS, *TRAINING_FAULTS])
def test_a_device_that_computes_wrongly_is_named_and_not_used(accelerator, model, digits, capsys, fault, precision):
    for in_training in (True, False):
        accelerator.fault = (FAULTS | TRAINING_FAULTS)[fault]()
        if in_training or fault in FAULTS:
            assert check(model, digits, in_training, precision) == devices.CPU
            assert capsys.readouterr().err == "Brand X computes this network wrongly: the CPU is used\n"


@pytest.mark.parametrize("in_training", [True, False])
def test_a_device_that_fails_is_named_with_the_reason_and_not_used(accelerator, digits, capsys, in_training):
    for error, reason in (
        (
            torch.OutOfMemoryError("out of memory. Tried to allocate 2 GiB.\nSee the manual"),
            "out of memory. Tried to a",
        ),
        (NotImplementedError("no kernel for it"), "no kernel for it"),
        (AssertionError(), "AssertionError"),
    ):
        accelerator.fault = raising(error)
        assert check(myCNN(SMALL), digits, in_training) == devices.CPU
        err = capsys.readouterr().err
        assert err.startswith(f"Brand X fails at this network ({reason}")
        assert err.endswith("): the CPU is used\n")
        assert err.count("\n") == 1


@pytest.mark.parametrize("in_training", [True, False])
def test_the_memory_is_tried_with_a_whole_batch_and_all_digits(accelerator, digits, capsys, in_training):
    accelerator.fault = raising(torch.OutOfMemoryError("out of memory"), if_longer_than=100)
    assert check(myCNN(SMALL), digits, in_training, batch_size=100) == ACCELERATOR
    accelerator.fault = raising(torch.OutOfMemoryError("out of memory"), if_longer_than=100)
    assert check(myCNN(SMALL), digits, in_training, batch_size=101) == devices.CPU

    def to(tensor, *others, to=torch.Tensor.to, **options):
        if tensor.shape[:1] == (512,) and tensor.dtype == torch.uint8:
            raise torch.OutOfMemoryError("out of memory")
        return to(tensor, *others, **options)

    accelerator.fault = mock.patch.object(torch.Tensor, "to", to)
    assert check(myCNN(SMALL), digits, in_training) == devices.CPU
    assert capsys.readouterr().err.count("fails at this network (out of memory)") == 2


def test_a_loss_that_is_not_finite_in_a_real_step_is_wrong(accelerator, digits, monkeypatch, capsys):
    monkeypatch.setattr(train, "augment", lambda images: images * float("nan"))
    assert check(myCNN(SMALL), digits) == devices.CPU
    assert capsys.readouterr().err == "Brand X computes this network wrongly: the CPU is used\n"


def test_training_goes_on_on_the_cpu_with_the_same_parameters(small_training, accelerator, monkeypatch, capsys):
    accelerator.fault = FAULTS["NaN"]()
    train.main()
    assert capsys.readouterr().err == "Brand X computes this network wrongly: the CPU is used\n"
    monkeypatch.setattr(devices, "best_device", lambda: devices.CPU)
    train.main()
    one, two = (train.CHECKPOINTS_DIR / run / "epoch_01.npz" for run in ("run-001", "run-002"))
    assert one.read_bytes() == two.read_bytes()


def test_testing_goes_on_on_the_cpu_with_the_same_accuracy(accelerator, monkeypatch, digits, tmp_path, capsys):
    monkeypatch.setattr(test, "load_mnist", lambda train, device: digits)
    for epoch in range(2):
        save_parameters(myCNN(SMALL), tmp_path / f"epoch_{epoch:02d}.npz")
    outputs = []
    for device, err in ((ACCELERATOR, "Brand X computes this network wrongly: the CPU is used\n"), (devices.CPU, "")):
        monkeypatch.setattr(devices, "best_device", lambda device=device: device)
        accelerator.fault = FAULTS["NaN"]()
        assert test.test_run(tmp_path) == 0
        output = capsys.readouterr()
        assert output.err == err
        outputs.append(output.out)
    assert outputs[0] == outputs[1]
    assert "epoch  1: " in outputs[0]


def test_an_accelerator_is_taken_where_there_is_one(monkeypatch):
    for kind in ("cuda", "mps", "xpu"):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda kind=kind: torch.device(kind))
        assert devices.best_device() == torch.device(kind)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
        assert devices.best_device() == devices.CPU


def test_bfloat16_is_taken_where_the_hardware_is_known_to_have_it(monkeypatch):
    def is_taken(kind):
        return devices.best_precision(torch.device(kind)) == torch.bfloat16

    for capability, has in (((7, 5), False), ((8, 0), True), ((12, 1), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, capability=capability: capability)
        assert is_taken("cuda") == has
    for has in (False, True):
        properties = SimpleNamespace(has_subgroup_matrix_multiply_accumulate=has)
        monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device, properties=properties: properties)
        assert is_taken("xpu") == has
    monkeypatch.setattr(torch.version, "hip", "6.2")
    for name, has in (
        ("gfx1030", False),
        ("gfx906:sramecc+:xnack-", False),
        ("gfx90a:sramecc+", True),
        ("gfx1100", True),
    ):
        properties = SimpleNamespace(gcnArchName=name)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, properties=properties: properties)
        assert is_taken("cuda") == has
    assert not is_taken("mps")
    assert not is_taken("hpu")


def test_random_numbers_go_on_from_the_state_of_their_device(monkeypatch):
    state = [torch.tensor([1, 2, 3], dtype=torch.uint8)]
    module = SimpleNamespace(get_rng_state=lambda: state[-1], set_rng_state=state.append)
    monkeypatch.setattr(torch, "get_device_module", lambda device: {"mps": module}[device.type])
    saved = devices.random_state(torch.device("mps"))
    state.append(torch.zeros(3, dtype=torch.uint8))
    devices.set_random_state(torch.device("mps"), saved)
    assert state[-1].tolist() == [1, 2, 3]
    saved = devices.random_state(devices.CPU)
    drawn = torch.rand(3)
    devices.set_random_state(devices.CPU, saved)
    assert torch.equal(torch.rand(3), drawn)
    assert len(state) == 3


def stop_in_second_epoch(train):
    step, steps = train.train_step, iter(range(10))

    def train_step(*arguments):
        if next(steps) == 9:  # 8 steps an epoch
            raise KeyboardInterrupt
        return step(*arguments)

    with mock.patch.object(train, "train_step", train_step), pytest.raises(Exception, match="1 of 2 epochs"):
        train.main()


def test_a_run_goes_on_with_the_random_state_of_its_device(small_training, monkeypatch):
    monkeypatch.setattr(devices, "random_state", lambda device: {"cpu": torch.tensor([7], dtype=torch.uint8)})
    states = []
    monkeypatch.setattr(devices, "set_random_state", lambda device, state: states.append(state["cpu"].tolist()))
    stop_in_second_epoch(small_training)
    small_training.main()
    assert states == [[7]]


def test_a_run_of_another_kind_of_device_is_named_and_left(small_training, capsys):
    stop_in_second_epoch(small_training)
    run = train.CHECKPOINTS_DIR / "run-001"
    settings = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps(settings | {"device": "xpu"}))
    files = sorted(path.name for path in run.iterdir())
    capsys.readouterr()
    train.main()
    out, err = capsys.readouterr()
    assert err == ""
    assert f"{run} is not continued: its device is xpu, now {devices.best_device().type}\n" in out
    assert "run-002" in out
    assert sorted(path.name for path in run.iterdir()) == files


def test_what_is_cudas_alone_stands_in_one_file():
    files = [path for path in train.ROOT.rglob("*.py") if "tests" not in path.parts and ".venv" not in path.parts]
    assert len(files) > 10
    assert [path.name for path in files if "torch.cuda" in path.read_text()] == ["device.py"]


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_all_tensors_are_on_the_device_and_in_its_precision(kind, training_digits):
    # Where there is a real GPU, fake tensors of other devices would be computed on it.
    environment = os.environ | {"PYTHONPATH": str(train.ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, __file__, kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["trained", "predicted"]


class NoFloat64(TorchDispatchMode):
    """MPS has no float64."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "cpu":
                assert tensor.dtype != torch.float64, function
        return result


class AllClose:
    """A CLOSE for which all logits are close: which ones are can't be asked of fake tensors."""

    def __gt__(self, differences):
        return slice(None)


def compute_with_fake_tensors(kind):
    """Train and predict on an accelerator that this PyTorch may not even be built for: shapes and dtypes, no values."""
    # PyTorch refuses devices that it is not built for unless they have a "device guard": they get that of "meta".
    c10 = ctypes.CDLL(str(next((Path(torch.__file__).parent / "lib").glob("libc10.*"))))
    guards = (ctypes.c_void_p * 20).in_dll(c10, "_ZN3c104impl26device_guard_impl_registryE")
    cuda, xpu, mps, meta = 1, 12, 13, 14  # c10::DeviceType
    guards[{"cuda": cuda, "xpu": xpu, "mps": mps}[kind]] = guards[meta]
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    torch.cuda.is_bf16_supported = lambda: True
    torch.backends.cudnn.enabled = False  # PyTorch 2.6 would ask the driver which convolution it has
    precision = torch.float32 if kind == "mps" else torch.bfloat16
    devices.best_precision = lambda device: precision
    predicting.CLOSE = AllClose()
    device = torch.device(kind, 0)
    dtypes = []

    with fake_tensor.FakeTensorMode(), NoFloat64():
        images, labels = (tensor.to(device) for tensor in (torch.zeros(150, 1, 28, 28).byte(), torch.zeros(150).long()))
        model = myCNN()
        for layer in model.modules():  # .to() can't be had with fake tensors
            layer.register_forward_hook(lambda layer, args, output: dtypes.append(output.dtype))
            for tensors in (layer._parameters, layer._buffers):
                for name, tensor in tensors.items():
                    layout = {"memory_format": devices.memory_format(device)} if tensor.dim() == 4 else {}
                    moved = tensor.detach().to(device, **layout)
                    tensors[name] = torch.nn.Parameter(moved) if tensors is layer._parameters else moved
        layout = torch.contiguous_format if kind == "mps" else torch.channels_last
        assert model.conv3.weight.is_contiguous(memory_format=layout)

        def backward(loss):  # autograd's own threads would look for the real device
            assert (loss.device, loss.dtype, loss.requires_grad) == (device, torch.float32, True)
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter)

        torch.Tensor.backward = backward
        optimizer = torch.optim.Adam(model.parameters(), fused=devices.has_fused_adam(device))
        scheduler = train.make_scheduler(optimizer, 100)
        for batch in torch.randperm(len(images), device=device).split(64):
            loss = train.train_step(model, optimizer, scheduler, images[batch], labels[batch], precision)
            assert (loss.device, loss.dtype) == (device, torch.float32)
        assert optimizer.state[model.fc1.weight]["exp_avg"].device == device
        assert {precision} <= set(dtypes[:10])
        print("trained")

        dtypes.clear()
        logits = predicting.predict(model, images)
        assert (logits.device, logits.dtype, logits.shape) == (device, torch.float32, (150, 10))
        assert set(dtypes) == {precision, torch.float32}
        print("predicted")


if __name__ == "__main__":
    warnings.simplefilter("error")  # such as an autocast that turns itself off
    compute_with_fake_tensors(sys.argv[1])
