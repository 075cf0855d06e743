"""However a script ends: one line at most, and an exit code. Tested with a short script, which starts quickly."""

import os

import pytest
from conftest import start

from train import ROOT

SCRIPT = """\
import os, signal, sys, time
from support.errors import UserError, one_line_errors
one_line_errors()
"""
INTERRUPT = "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"

has_signals = pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")


@pytest.mark.parametrize(
    ("last_line", "code", "line"),
    [
        ("sys.exit(1)", 1, ""),
        ("raise UserError('no\\n  digit: write darker')", 2, "error: no digit: write darker\n"),
        ("open('nowhere')", 2, "error: nowhere: No such file or directory: check "),
        ("raise MemoryError", 2, "error: there is not enough memory: close other programs, or lower BATCH_SIZE or"),
        ("raise RuntimeError('CUDA out of memory. Tried to allocate 2 GiB')", 2, "error: there is not enough memory: "),
        pytest.param(INTERRUPT, 130, "stopped\n", marks=has_signals),
        pytest.param(INTERRUPT.replace("INT", "TERM"), 143, "stopped\n", marks=has_signals),
    ],
)
def test_a_users_mistake_or_a_signal_ends_a_script_with_one_line_and_an_exit_code(tmp_path, last_line, code, line):
    (tmp_path / "script.py").write_text(SCRIPT + last_line)
    process = start(tmp_path, "script.py", PYTHONPATH=str(ROOT))
    _, err = process.communicate()
    assert process.returncode == code
    assert err.startswith(line)
    assert err.count("\n") == (line != "")


def ipython(folder, *lines):
    """All that IPython prints when it runs lines."""
    command = "-m", "IPython", "--colors=NoColor", "-c", "\n".join(lines)
    process = start(folder, *command, PYTHONPATH=str(ROOT), IPYTHONDIR=str(folder / "ipython"))
    return "".join(process.communicate(timeout=60))


def test_in_ipython_an_error_is_one_line_and_an_exit_code_is_not_mentioned(tmp_path):
    (tmp_path / "mistake.py").write_text(SCRIPT + "raise UserError('no data')")
    (tmp_path / "failure.py").write_text(SCRIPT + "from support.errors import exit_with; exit_with(1)")
    assert ipython(tmp_path, "%run mistake.py", "%run failure.py").splitlines() == ["error: no data"]


@has_signals
def test_in_ipython_ctrl_c_raises_keyboardinterrupt_and_the_scripts_leave_its_hooks_as_they_are(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT + INTERRUPT)
    hooks = "(sys.stdout, sys.stderr, sys.excepthook, *map(signal.getsignal, [2, 15]))"
    before, after = f"import signal, sys; before = {hooks}", f"print('same', before == {hooks})"
    text = ipython(tmp_path, before, "%run script.py", after)
    assert "\nKeyboardInterrupt" in text
    assert "same True\n" in text
