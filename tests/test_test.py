import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL
from matplotlib.lines import Line2D
from matplotlib.text import Text

import test
import train
from Model import load_parameters, myCNN, save_parameters
from support import device as devices
from support import predicting, report
from support.errors import UserError


@pytest.fixture(scope="module")
def trained(tmp_path_factory, training_digits):
    """A run of two epochs: an untrained network, and a better one."""
    folder = tmp_path_factory.mktemp("checkpoints") / "run-001"
    folder.mkdir()
    torch.manual_seed(0)
    model = myCNN(SMALL)
    save_parameters(model, folder / "epoch_00.npz")
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    scheduler = train.make_scheduler(optimizer, 100)
    images, labels = training_digits
    for batch in torch.arange(6400).split(64):
        train.train_step(model, optimizer, scheduler, images[batch], labels[batch], torch.float32)
    save_parameters(model, folder / "epoch_01.npz")
    return folder


@pytest.fixture
def tested(monkeypatch, tmp_path, trained, test_digits):
    """The folder of that run; test.py is set to test on 1,000 digits."""
    images, labels = test_digits
    monkeypatch.setattr(test, "load_mnist", lambda train, device: (images[:1000], labels[:1000]))
    monkeypatch.setattr(test, "CHECKPOINTS_DIR", tmp_path)
    return shutil.copytree(trained, tmp_path / "run-001")


def test_the_accuracy_is_correct_over_total_as_computed_digit_by_digit(tested, capsys, test_digits):
    assert test.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("predicting ...")
    accuracies = []
    for epoch in (0, 1):
        model = load_parameters(tested / f"epoch_{epoch:02d}.npz")
        answers = [model(image[None] / 255).argmax() for image in test_digits[0][:1000]]
        accuracies.append(sum(map(torch.eq, answers, test_digits[1])).item() / 1000 * 100)
    assert accuracies[1] > 70 > 30 > accuracies[0]
    assert lines[1:4] == [
        f"epoch  0: {accuracies[0]:.4f} %",
        f"epoch  1: {accuracies[1]:.4f} %",
        f"best accuracy: {accuracies[1]:.4f} % (epoch 1)",
    ]
    table = (tested / "accuracy.csv").read_text()
    assert table == f"epoch,accuracy\n0,{accuracies[0]:.4f}\n1,{accuracies[1]:.4f}\n"


def test_the_picture_of_a_run_shows_its_name_settings_curves_and_surest_mistakes(tested, monkeypatch):
    (tested / "training_log.csv").write_text("epoch,loss,seconds\n0,0.5,1.0\n1,0.25,1.0\n")
    (tested / "settings.json").write_text(json.dumps({"hyperparameters": {"SEED": 3}, "device": "cpu"}))
    figures = []
    savefig = report.Figure.savefig
    monkeypatch.setattr(report.Figure, "savefig", lambda figure, file: (figures.append(figure), savefig(figure, file)))
    test.main()
    assert (tested / "report.png").exists()
    texts = [text.get_text() for text in figures[0].findobj(Text)]
    assert {"myCNN, run-001", "SEED = 3, cpu"} <= set(texts)
    assert any(text.startswith("best: ") for text in texts)
    assert any(np.array_equal(line.get_ydata(), [0.5, 0.25]) for line in figures[0].findobj(Line2D))
    titles = [text for text in texts if text[1:4] == " → "]
    assert len(titles) == 40
    assert all(title[0] != title[4] for title in titles)  # what it is, what was read
    sure = [int(title.split()[-1][:-1]) for title in titles]
    assert sure == sorted(sure, reverse=True)


def test_bfloat16_gives_the_answers_of_float32(tested, test_digits, monkeypatch):
    model, images = load_parameters(tested / "epoch_01.npz"), test_digits[0]
    answers = {}
    for precision, close in ((torch.float32, 1.0), (torch.bfloat16, 0.0), (torch.bfloat16, 1.0)):
        monkeypatch.setattr(devices, "best_precision", lambda device, precision=precision: precision)
        monkeypatch.setattr(predicting, "CLOSE", close)
        logits = predicting.predict(model, images)
        assert logits.dtype == torch.float32
        answers[precision, close] = logits.argmax(1)
    assert not torch.equal(answers[torch.bfloat16, 0.0], answers[torch.float32, 1.0])
    assert torch.equal(answers[torch.bfloat16, 1.0], answers[torch.float32, 1.0])


def test_a_damaged_epoch_is_named_and_the_others_are_tested(tested, capsys):
    damaged = tested / "epoch_00.npz"
    damaged.write_bytes(damaged.read_bytes()[:5000])
    assert test.main() == 1
    out, err = capsys.readouterr()
    assert "epoch_00.npz" in err
    assert err.count("\n") == 1
    assert out.splitlines()[1].startswith("epoch  1: ")
    assert out.splitlines()[2].startswith("best accuracy: ")


@pytest.fixture
def clone(monkeypatch, tmp_path):
    """The folder of a fresh clone, where test.py does not read images but returns the folder for their pictures."""
    shutil.copytree(train.CHECKPOINTS_DIR / "small", tmp_path / "checkpoints" / "small")
    monkeypatch.setattr(test, "CHECKPOINTS_DIR", tmp_path / "checkpoints")
    monkeypatch.setattr(test, "SMALL", tmp_path / "checkpoints" / "small")
    monkeypatch.setattr(test, "read_images", lambda paths, logits_of, folder: folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_run_the_small_network_reads_and_is_known_by_its_path_not_its_name(clone, capsys):
    assert test.main(["7.png"]) == clone  # its own folder stays as it is
    assert test.main(["checkpoints/../checkpoints/small", "7.png"]) == clone
    assert capsys.readouterr().err.startswith("reading with epoch 19 of checkpoints/small\nreading with ")
    shutil.copytree("checkpoints/small", "mine/small")
    assert test.main(["mine/small", "7.png"]) == Path("mine/small")


def test_the_last_epoch_of_the_newest_run_reads_and_a_line_says_where_it_was_trained_for_less(clone, capsys):
    for run, epochs in (("run-001", [19]), ("run-002", [0, 1, 4])):
        folder = clone / "checkpoints" / run
        folder.mkdir()
        for epoch in epochs:
            shutil.copy("checkpoints/small/epoch_19.npz", folder / f"epoch_{epoch:02d}.npz")
        (folder / "accuracy.csv").write_text("epoch,accuracy\n0,99\n1,98\n4,97\n")
    assert test.main(["7.png"]) == folder
    first, second = capsys.readouterr().err.splitlines()
    assert first == "reading with epoch 4 of checkpoints/run-002"
    assert second == "it has trained for less than 20 epochs: checkpoints/small may read better"
    test.main(["checkpoints/run-001", "7.png"])
    assert capsys.readouterr().err == "reading with epoch 19 of checkpoints/run-001\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "no run in checkpoints has an epoch yet: python train.py makes one"),
        (["checkpoints/small", "--fast"], "unrecognized arguments: --fast: see python .* --help"),
        (["checkpoints/small", "checkpoints/run-001"], "name one run at most"),
        (["--draw", "7.png"], "no images beside --draw"),
        (["checkpoints/run-001"], "run-001 has no epoch yet: run python train.py, or name another run"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(clone, arguments, complaint):
    (clone / "checkpoints" / "run-001").mkdir()
    with pytest.raises(UserError, match=complaint):
        test.main(arguments)
