"""Imports run one way: who leans on whom can be read off the table."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A file, or a room and all its files, and what of the house it may import beside itself.
MAY_IMPORT = {
    "support": set(),
    "Model.py": {"support"},
    "handwriting": {"support"},
    "train.py": {"support", "Model"},
    "test.py": {"support", "Model", "handwriting", "train"},
    "benchmarks": {"support", "Model", "handwriting", "train", "test"},
}
# The stair inside handwriting/: a file imports only from those before it.
STAIR = [
    "finder",
    "photo",
    "forms",
    "lines",
    "reader",
    "results",
    "answers",
    "page",
]


def imported(path):
    """The names of all modules that a Python file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_nothing_is_imported_from_above(place):
    path = ROOT / place
    house = {name.removesuffix(".py") for name in MAY_IMPORT}
    for file in path.rglob("*.py") if path.is_dir() else [path]:
        taken = {name.split(".")[0] for name in imported(file)} & house - {place}
        assert taken <= MAY_IMPORT[place], f"{file.name} imports {taken - MAY_IMPORT[place]}"


def test_handwriting_is_one_stair():
    for file in (ROOT / "handwriting").glob("[!_]*.py"):
        for name in imported(file):
            room, step, *_ = name.split(".") + [""]
            if room == "handwriting":
                assert STAIR.index(step) < STAIR.index(file.stem), f"{file.name} imports {name}"


def test_no_file_has_over_200_lines():
    files = [file for place in MAY_IMPORT if place != "benchmarks" for file in sorted(ROOT.glob(f"{place}/*.py"))]
    for file in (*files, *ROOT.glob("*.py")):
        assert len(file.read_text().splitlines()) <= 200, file
