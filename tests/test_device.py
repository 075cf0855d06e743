"""An accelerator is trusted if its results are the CPU's. Devices that every machine has stand in for one."""

from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import NARROW, TRAINED

import train
from Model import load_parameters, myCNN
from support.device import CPU, best_device, predict, trusted_device
from support.errors import UserError

META = torch.device("meta")  # shapes and dtypes, but no values
OTHER = torch.device("cpu", 0)  # computes as the CPU does, but doesn't equal torch.device("cpu")


def network_with(fault):
    """A myCNN whose logits are first the CPU's, then those of an accelerator: changed by the function `fault`."""
    model, changes = myCNN(NARROW), iter([lambda logits: logits, fault])
    model.register_forward_hook(lambda _, inputs, logits: next(changes)(logits))
    return model


@pytest.fixture
def accelerator(monkeypatch):
    """The device OTHER as the machine's accelerator."""
    monkeypatch.setattr("support.device.best_device", lambda: OTHER)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("network", ["new", "trained"])
def test_a_device_with_only_its_precisions_rounding_error_is_used(accelerator, test_digits, capsys, network, precision):
    model = load_parameters(TRAINED) if network == "trained" else myCNN(NARROW)
    assert trusted_device(model, *test_digits, precision) == (OTHER, getattr(torch, precision))
    assert capsys.readouterr().err == ""


FAULTS = {
    "NaN": lambda logits: logits * float("nan"),
    "logits 20 % too large": lambda logits: 1.2 * logits,
    "no gradient": lambda logits: logits.detach() + 0 * logits,
    "the gradient of a sum": lambda logits: 64 * logits - 63 * logits.detach(),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_device_with_wrong_results_is_named_and_not_used(accelerator, test_digits, capsys, fault, precision):
    assert trusted_device(network_with(FAULTS[fault]), *test_digits, precision)[0] == CPU
    assert capsys.readouterr().err == "CPU gives wrong results for this network: the CPU is used instead\n"


def test_a_device_that_fails_is_named_and_not_used(monkeypatch, test_digits, capsys):
    monkeypatch.setattr("support.device.best_device", lambda: META)  # it has no values to give back
    assert trusted_device(myCNN(NARROW), *test_digits, "float32")[0] == CPU
    assert capsys.readouterr().err == "META fails (Cannot copy out of meta tensor; no data!): the CPU is used instead\n"


def test_the_cpu_does_not_replace_a_device_that_has_too_little_memory(accelerator, test_digits):
    fail = mock.Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    with pytest.raises(torch.OutOfMemoryError):
        trusted_device(network_with(fail), *test_digits, "float32")


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
    assert best_device() == META


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux kills what outgrows the memory")
def test_a_network_too_large_for_the_cpus_memory_is_refused_before_it_is_created(small_training, monkeypatch):
    monkeypatch.setattr(train, "DIM_HIDDEN", [65_536] * 5)
    with pytest.raises(UserError, match="training needs about .* GB are free: lower BATCH_SIZE or DIM_HIDDEN"):
        train.main()
