"""An accelerator is trusted if its results are the CPU's. The meta device stands in for one."""

from pathlib import Path

import pytest
import torch
from conftest import NARROW

import train
from Model import load_parameters, myCNN
from support import device as devices
from support.errors import UserError
from support.predicting import predict

META = torch.device("meta")  # shapes and dtypes, but no values


@pytest.fixture
def accelerator(monkeypatch):
    """A function that installs an accelerator whose logits and gradient are the CPU's, changed by a given function."""
    compute = devices._logits_and_gradient

    def put(change):
        def computed(model, images, labels, device, precision):
            result = compute(model, images, labels, devices.CPU, precision)
            return change(*result) if device == META else result

        monkeypatch.setattr(devices, "_logits_and_gradient", computed)
        monkeypatch.setattr(devices, "best_device", lambda: META)

    return put


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("network", ["new", "trained"])
def test_a_device_with_only_its_precisions_rounding_error_is_used(accelerator, test_digits, capsys, network, precision):
    model = load_parameters(train.ROOT / "checkpoints/small/epoch_19.npz") if network == "trained" else myCNN(NARROW)
    accelerator(lambda logits, gradient: (logits, gradient))
    assert devices.trusted_device(model, *test_digits, precision) == (META, getattr(torch, precision))
    assert capsys.readouterr().err == ""


FAULTS = {
    "NaN": lambda logits, gradient: (logits * float("nan"), gradient),
    "logits of other digits": lambda logits, gradient: (logits.roll(1, 0), gradient),
    "no gradient": lambda logits, gradient: (logits, 0 * gradient),
    "the gradient of a sum": lambda logits, gradient: (logits, 64 * gradient),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_device_with_wrong_results_is_named_and_not_used(accelerator, test_digits, capsys, fault, precision):
    accelerator(FAULTS[fault])
    assert devices.trusted_device(myCNN(NARROW), *test_digits, precision)[0] == devices.CPU
    assert capsys.readouterr().err == "META gives wrong results for this network: the CPU is used instead\n"


def test_a_device_that_fails_is_named_and_not_used(monkeypatch, test_digits, capsys):
    monkeypatch.setattr(devices, "best_device", lambda: META)  # it has no values to give back
    assert devices.trusted_device(myCNN(NARROW), *test_digits, "float32")[0] == devices.CPU
    assert capsys.readouterr().err == "META fails (Cannot copy out of meta tensor; no data!): the CPU is used instead\n"


def test_the_cpu_does_not_replace_a_device_that_has_too_little_memory(accelerator, test_digits):
    def fail(logits, gradient):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the manual")

    accelerator(fail)
    with pytest.raises(torch.OutOfMemoryError):
        devices.trusted_device(myCNN(NARROW), *test_digits, "float32")


def test_training_and_predicting_keep_all_tensors_on_the_device():
    images, labels = torch.zeros(100, 1, 28, 28, dtype=torch.uint8, device=META), torch.zeros(100).long().to(META)
    model = myCNN(NARROW).to(META)
    optimizer = torch.optim.Adam(model.parameters())
    scheduler = train.make_scheduler(optimizer, 10)
    assert train.train_step(model, optimizer, scheduler, images, labels, torch.float32).device == META
    assert predict(model, images).device == META


def test_an_accelerator_is_preferred_to_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: META)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert devices.best_device() == META


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux kills what outgrows the memory")
def test_a_network_too_large_for_the_cpus_memory_is_refused_before_it_is_created(small_training, monkeypatch):
    monkeypatch.setattr(devices, "best_device", lambda: devices.CPU)
    monkeypatch.setattr(train, "DIM_HIDDEN", [65_536] * 5)
    with pytest.raises(UserError, match="training needs about .* GB are free: lower BATCH_SIZE or DIM_HIDDEN"):
        train.main()
