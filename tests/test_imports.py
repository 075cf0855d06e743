"""Imports run one way: who leans on whom can be read off the table."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A file, or a folder and all its files, and what of the project it may import beside itself.
MAY_IMPORT = {
    "support": set(),
    "Model.py": {"support"},
    "handwriting": {"support", "Model"},
    "train.py": {"support", "Model"},
    "test.py": {"support", "Model", "handwriting", "train"},
    "benchmarks": {"support", "Model", "handwriting", "train", "test"},
}


def imported(path):
    """The names of all modules that a Python file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_nothing_is_imported_from_above(place):
    path = ROOT / place
    project = {name.removesuffix(".py") for name in MAY_IMPORT}
    for file in path.rglob("*.py") if path.is_dir() else [path]:
        taken = {name.split(".")[0] for name in imported(file)} & project - {place}
        assert taken <= MAY_IMPORT[place], f"{file.name} imports {taken - MAY_IMPORT[place]}"
