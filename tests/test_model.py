"""The network is the lab report's, and a damaged file of weights is refused in one line."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from conftest import NARROW, Mark

from Model import load_parameters, myCNN, save_parameters
from support.errors import UserError


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
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_network_has_the_lab_reports_26585098_parameters():
    assert sum(p.numel() for p in myCNN().parameters()) == 26_585_098


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


def test_a_flipped_bit_is_detected_wherever_it_changes_what_is_read(tmp_path):
    model, path = myCNN([1] * 5), tmp_path / "epoch_00.npz"
    save_parameters(model, path)
    whole, refused = path.read_bytes(), 0
    positions = range(0, len(whole), 31)
    for position in positions:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        try:
            back = load_parameters(path).state_dict()
        except UserError:
            refused += 1
        else:  # a date, or something else that is not read
            assert all(torch.equal(back[name], tensor) for name, tensor in model.state_dict().items())
    assert refused > 0.7 * len(positions)


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


def test_a_file_that_claims_more_memory_than_it_has_bytes_is_refused(saved):
    _, path = saved
    np.savez_compressed(path, x=np.zeros(10_000_000))
    refuse(path)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,)}\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refuse(path)


def test_the_weights_of_another_network_are_refused(saved):
    _, path = saved
    whole = dict(np.load(path))
    for change in ({"fc3.weight": np.zeros((10, 17))}, {"fc4.bias": np.zeros(3)}, {"conv1.weight": np.zeros(())}):
        np.savez(path, **whole | change)
        refuse(path)
