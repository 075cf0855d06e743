"""The network is the lab report's, and a damaged file of weights is refused in one line."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from conftest import NARROW, TRAINED, Mark

from Model import load_parameters, myCNN, save_parameters
from support.device import predict
from support.errors import UserError
from support.files import load_weights, save_weights


@pytest.fixture
def saved(tmp_path):
    """A small network and the parameter file it was saved to."""
    torch.manual_seed(1)
    model = myCNN(NARROW)
    model.bn1.num_batches_tracked += 7
    path = tmp_path / "epoch_00.npz"
    save_parameters(model.to(memory_format=torch.channels_last), path)
    return model, path


def refuse(path):
    """Check that a file is refused in one line that names it."""
    with pytest.raises(UserError) as refused:
        load_parameters(path)
    assert path.as_posix() in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_network_has_the_lab_reports_26585098_parameters():
    assert sum(p.numel() for p in myCNN().parameters()) == 26_585_098


def test_the_network_that_comes_with_the_program_reads_9962_of_the_10000_test_digits(test_digits):
    images, labels = test_digits
    correct = (predict(load_parameters(TRAINED), images).argmax(1) == labels).sum()
    assert abs(correct - 9962) <= 1  # rounding may decide one


def test_pooling_before_relu_gives_what_the_lab_report_computes(test_digits):
    model = myCNN(NARROW).eval()
    x = digits = test_digits[0][:8].float() / 255
    for conv, bn in ((model.conv1, model.bn1), (model.conv2, model.bn2)):
        x = torch.max_pool2d(torch.relu(bn(conv(x))), 2)
    x = torch.relu(model.bn3(model.conv3(x))).flatten(1)
    x = model.fc3(torch.relu(model.fc2(torch.relu(model.fc1(x)))))
    assert torch.equal(model(digits), x)


def test_parameters_come_back_bit_for_bit_and_ready_to_predict_and_numpy_alone_reads_them(saved):
    model, path = saved
    back = load_parameters(path)
    assert not back.training
    assert list(back.state_dict()) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert back.state_dict()[name].dtype == tensor.dtype
        assert torch.equal(back.state_dict()[name], tensor), name
        assert np.array_equal(np.load(path)[name], tensor), name


def test_a_flipped_bit_anywhere_is_detected_or_changes_nothing(tmp_path):
    path, weights = tmp_path / "weights.npz", torch.ones(2000)
    save_weights(path, {"w": weights})
    whole = path.read_bytes()
    start = whole.index(weights.numpy().tobytes())
    end = start + weights.nbytes
    for bit in (*range(8 * (start + 1)), *range(8 * end, 8 * len(whole))):  # of all but the array's other numbers
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            back = load_weights(path)
        except UserError:
            continue
        assert not back or torch.equal(back["w"], weights)  # no network accepts that a tensor is missing


def test_a_file_that_is_cut_short_or_missing_is_refused(saved):
    _, path = saved
    whole = path.read_bytes()
    for length in (0, 1, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refuse(path)
    path.unlink()
    refuse(path)


def test_a_pickle_is_refused_and_runs_no_code(tmp_path):
    path, mark = tmp_path / "epoch_00.npz", tmp_path / "mark"
    np.savez(path, x=np.array(Mark(mark), dtype=object))
    refuse(path)
    path.write_bytes(pickle.dumps(Mark(mark)))
    refuse(path)
    assert not mark.exists()


def test_a_file_whose_arrays_would_be_larger_than_it_is_refused(saved):
    _, path = saved
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"so that the directory is written again"
        archive.filelist[0].file_size = 10**9
    refuse(path)
    np.savez_compressed(path, x=np.zeros(1000))
    refuse(path)


def test_a_file_in_which_one_array_is_compressed_is_refused(saved):
    _, path = saved
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if name == "conv1.weight.npy" else zipfile.ZIP_STORED)
    refuse(path)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_the_parameters_of_a_training_that_diverged_are_refused(saved, number):
    model, path = saved
    model.fc2.bias.data[3] = number
    save_parameters(model, path)
    refuse(path)


def test_the_weights_of_another_network_are_refused(saved):
    _, path = saved
    whole = dict(np.load(path))
    for change in ({"fc3.weight": np.zeros((10, 17))}, {"fc4.bias": np.zeros(3)}, {"conv1.weight": np.zeros(())}):
        np.savez(path, **whole | change)
        refuse(path)
