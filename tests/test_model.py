import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from conftest import SMALL, Mark
from hypothesis import example, given, settings
from hypothesis import strategies as st

from Model import load_parameters, myCNN, save_parameters
from support.errors import UserError


@pytest.fixture
def saved(tmp_path):
    """A small network and the parameter file it was saved to."""
    torch.manual_seed(1)
    model = myCNN(SMALL)
    model.bn1.num_batches_tracked += 7
    path = tmp_path / "epoch_00.npy"
    save_parameters(model, path)
    return model, path


def test_the_network_has_the_layers_and_the_26585098_parameters_of_the_report():
    model = myCNN()
    assert sum(p.numel() for p in model.parameters()) == 26_585_098
    assert {name: tuple(p.shape) for name, p in model.named_parameters() if name.endswith("weight")} == {
        "conv1.weight": (32, 1, 3, 3),
        "bn1.weight": (32,),
        "conv2.weight": (128, 32, 3, 3),
        "bn2.weight": (128,),
        "conv3.weight": (512, 128, 3, 3),
        "bn3.weight": (512,),
        "fc1.weight": (1024, 512 * 7 * 7),
        "fc2.weight": (256, 1024),
        "fc3.weight": (10, 256),
    }


def test_each_layer_gives_the_shape_the_report_gives(test_digits):
    model = myCNN(SMALL)
    shapes = {}
    for name, layer in model.named_children():
        layer.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape)}))
    model(test_digits[0][:3].float() / 255)
    assert shapes == {
        "conv1": (3, 4, 28, 28),
        "bn1": (3, 4, 28, 28),
        "conv2": (3, 8, 14, 14),
        "bn2": (3, 8, 14, 14),
        "conv3": (3, 16, 7, 7),
        "bn3": (3, 16, 7, 7),
        "fc1": (3, 32),
        "fc2": (3, 16),
        "fc3": (3, 10),
    }


def test_pooling_before_relu_is_the_function_of_the_report(test_digits):
    model = myCNN(SMALL).eval()
    x = digits = test_digits[0][:8].float() / 255
    for conv, bn in ((model.conv1, model.bn1), (model.conv2, model.bn2)):
        x = torch.max_pool2d(torch.relu(bn(conv(x))), 2)
    x = torch.relu(model.bn3(model.conv3(x))).flatten(1)
    x = model.fc3(torch.relu(model.fc2(torch.relu(model.fc1(x)))))
    assert torch.equal(model(digits), x)


def test_gradients_reach_every_parameter(training_digits):
    images, labels = training_digits
    model = myCNN(SMALL)
    torch.nn.functional.cross_entropy(model(images[:64].float() / 255), labels[:64]).backward()
    for name, parameter in model.named_parameters():
        # A bias before BatchNorm has no effect: BatchNorm subtracts it again.
        assert parameter.grad.isfinite().all()
        assert name in ("conv1.bias", "conv2.bias", "conv3.bias") or parameter.grad.abs().max() > 1e-6, name


@pytest.mark.parametrize("widths", [(4, 8, 16, 32), (4, 8, 16, 32, 16, 8), (4, 0, 16, 32, 16), (4, 8, -1, 32, 16)])
def test_widths_other_than_five_positive_ones_are_refused(widths):
    with pytest.raises(ValueError, match="five positive widths"):
        myCNN(widths)


def test_parameters_come_back_bit_for_bit_with_the_widths_of_the_file(saved):
    model, path = saved
    back = load_parameters(path).state_dict()
    assert list(back) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor), name


def test_a_channels_last_network_is_saved_in_the_same_bytes(saved, tmp_path):
    model, path = saved
    save_parameters(model.to(memory_format=torch.channels_last), tmp_path / "other.npy")
    assert (tmp_path / "other.npy").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_plain_numpy_reads_a_parameter_file(saved, mmap_mode):
    model, path = saved
    record = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    assert np.array_equal(record["fc1.weight"], model.fc1.weight.detach().numpy())
    assert record["bn1.num_batches_tracked"] == 7


def test_saving_leaves_no_temporary_file(saved):
    _, path = saved
    assert [file.name for file in path.parent.iterdir()] == ["epoch_00.npy"]


def test_a_failed_save_leaves_the_earlier_file(saved, monkeypatch):
    model, path = saved
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left"):
        save_parameters(model, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["epoch_00.npy"]


def refuse(path):
    """The one-line message with which load_parameters refuses `path`."""
    with pytest.raises(UserError) as refused:
        load_parameters(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_pickle_is_refused_and_runs_no_code(tmp_path):
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(Mark(tmp_path / "plain")))
    np.save(tmp_path / "array.npy", np.array(Mark(tmp_path / "array"), dtype=object), allow_pickle=True)
    np.savez(tmp_path / "zip", x=np.array(Mark(tmp_path / "zip"), dtype=object))
    (tmp_path / "zip.npz").rename(tmp_path / "zip.npy")
    torch.save(Mark(tmp_path / "torch"), tmp_path / "torch.npy")
    for name in ("plain", "array", "zip", "torch"):
        refuse(tmp_path / f"{name}.npy")
        assert not (tmp_path / name).exists()


def test_a_file_cut_short_anywhere_is_refused(saved):
    _, path = saved
    whole = path.read_bytes()
    for length in (0, 1, 6, 10, 100, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refuse(path)


def test_what_is_no_parameter_file_is_refused(saved, tmp_path, test_digits):
    model, path = saved
    text = tmp_path / "text.npy"
    text.write_text("99.35 %\n")
    refuse(text)
    digits = tmp_path / "digits.npy"
    np.save(digits, test_digits[0][:10].numpy())
    refuse(digits)
    archive = tmp_path / "archive.npy"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(text, "text")
    refuse(archive)
    refuse(tmp_path / "missing.npy")
    refuse(tmp_path)


def test_the_record_of_another_network_is_refused(saved):
    _, path = saved
    whole = np.load(path).dtype
    fields = {name: whole[name] for name in whole.names}
    for other in (
        {name: kind for name, kind in fields.items() if name != "bn2.bias"},
        fields | {"fc4.weight": np.dtype(("<f4", (10, 10)))},
        fields | {"fc3.bias": np.dtype(("<f8", (10,)))},
        fields | {"fc3.weight": np.dtype(("<f4", (10, 17)))},
        fields | {"conv1.weight": np.dtype(("<f4", (0, 1, 3, 3)))},
        dict(reversed(fields.items())),
    ):
        np.save(path, np.zeros((), list(other.items())))
        refuse(path)
    np.save(path, np.zeros(2, whole))
    refuse(path)


def header(descr, fortran="False", shape="()"):
    """The head of a .npy file, version 1.0, with the given text as its dtype."""
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def fields(path, old="", new=""):
    """The fields of a parameter file as the text that stands in its header, a part replaced."""
    text = str(np.load(path).dtype.descr)
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "shape"),
    [
        ("(4, 1, 3, 3)", "(4, 10**12, 3, 3)", "()"),  # not a literal
        ("(4, 1, 3, 3)", "(1000000000, 1000, 3, 3)", "()"),
        ("(4, 1, 3, 3)", "(-4, 1, 3, 3)", "()"),
        ("(4, 1, 3, 3)", "(99999999999999999999999, 1, 3, 3)", "()"),
        ("('conv1.weight', '<f4', (4, 1, 3, 3))", "('conv1.weight', '|O')", "()"),
        ("'conv1.bias'", "'conv1.weight'", "()"),  # twice
        ("'conv1.bias'", "'conv1.bais'", "()"),
        ("'<f4'", "'<f4000000000000'", "()"),
        ("'<f4'", "'__import__(\"os\").abort()'", "()"),
        ("", "", "(1000000000000,)"),
        ("", "", "(-1,)"),
        ("", "", "(2, 3)"),
        ("[", "[" * 5000, "()"),
    ],
)
def test_a_hostile_header_is_refused_in_one_line_without_a_large_allocation(saved, old, new, shape):
    _, path = saved
    path.write_bytes(header(fields(path, old, new), shape=shape) + bytes(200_000))
    tracemalloc.start()
    try:
        refuse(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


def test_the_header_that_those_tests_write_is_taken_where_it_is_right(saved):
    _, path = saved
    before = load_parameters(path).fc3.weight
    path.write_bytes(header(fields(path)) + np.load(path).tobytes())
    assert torch.equal(load_parameters(path).fc3.weight, before)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    """A parameter file of 2 kB, most of it header, and its bytes."""
    path = tmp_path_factory.mktemp("fuzz") / "epoch_00.npy"
    save_parameters(myCNN([1, 1, 2, 2, 2]), path)
    return path, path.read_bytes()


@settings(max_examples=500, deadline=None)
@given(
    flips=st.dictionaries(st.integers(0, 2500), st.integers(1, 255), max_size=4),
    length=st.none() | st.integers(0, 5000),
)
@example(flips={8: 255, 9: 255}, length=None)
def test_a_parameter_file_with_bytes_flipped_or_cut_off_loads_in_its_shapes_or_is_refused(small_file, flips, length):
    path, whole = small_file
    damaged = bytearray(whole)
    for position, flip in flips.items():
        damaged[position % len(damaged)] ^= flip
    path.write_bytes(damaged[:length])
    try:
        model = load_parameters(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        expected = myCNN([1, 1, 2, 2, 2]).state_dict()
        assert {n: (t.shape, t.dtype) for n, t in model.state_dict().items()} == {
            n: (t.shape, t.dtype) for n, t in expected.items()
        }
