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
def path(tmp_path):
    """The parameter file of a small network."""
    save_parameters(myCNN(NARROW), tmp_path / "epoch_00.npz")
    return tmp_path / "epoch_00.npz"


def refuse(path, why=None):
    """Check that a file is refused in one line that names it."""
    with pytest.raises(UserError, match=why) as refused:
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


def test_parameters_come_back_bit_for_bit_and_ready_to_predict_and_numpy_alone_reads_them(path):
    model = myCNN(NARROW).to(memory_format=torch.channels_last)
    model.bn1.num_batches_tracked += 7
    save_parameters(model, path)
    back = load_parameters(path)
    assert not back.training
    torch.testing.assert_close(back.state_dict(), model.state_dict(), rtol=0, atol=0)
    for name, array in np.load(path).items():
        assert np.array_equal(array, model.state_dict()[name]), name


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


def test_a_file_that_is_cut_short_or_missing_is_refused(path):
    whole = path.read_bytes()
    for length in (0, 1, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refuse(path)
    path.unlink()
    refuse(path)


def test_a_pickle_is_refused_and_runs_no_code(path, tmp_path):
    mark = tmp_path / "mark"
    np.savez(path, x=np.array(Mark(mark), dtype=object))
    refuse(path)
    path.write_bytes(pickle.dumps(Mark(mark)))
    refuse(path)
    assert not mark.exists()


def test_a_file_that_claims_to_hold_more_than_its_size_or_has_a_compressed_array_is_refused(path):
    whole = path.read_bytes()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", archive.read("conv1.weight.npy"), zipfile.ZIP_DEFLATED)
    refuse(path, "its members are compressed")
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"so that the directory is written again"
        archive.filelist[0].file_size = 10**9
    refuse(path, "claim to be larger")


def test_the_weights_of_another_network_or_of_a_training_that_diverged_are_refused(path):
    whole = dict(np.load(path))
    wrong = {"fc3.weight": np.zeros((10, 17)), "fc4.bias": np.zeros(3), "conv1.weight": np.zeros(())}
    wrong |= {"fc1.bias": np.append(np.zeros(31), np.nan), "fc2.bias": np.append(np.zeros(15), np.inf)}
    for name, array in wrong.items():
        np.savez(path, **whole | {name: array})
        refuse(path)
