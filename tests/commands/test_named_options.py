"""An error that tells what to type names an option that the command has: read from the sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from skinaudit.cli import commands

ROOT = Path(__file__).resolve().parents[2]
# Folder -> the commands whose options its messages may name. What export opens may also be audited, and an audit says how
# to train and export better.
COMMANDS = {
    "export": ("export",),
    "engines": ("export", "audit"),
    "trainer": ("train", "attack", "audit", "paper"),
    "audit": ("audit", "transfer", "compare", "report", "train", "export"),
}

OTHERS = ("python -m tf2onnx",)
"""Commands of other programs that messages name."""


def options_of(*names: str) -> set[str]:
    own = {option for name in names for parameter in commands.commands[name].params for option in parameter.opts}
    return {*own, "--help"}


def named_options(path: Path) -> Iterator[tuple[int, str]]:
    """(line, option) of every text of a file that is not a docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        if text and not any(program in node.value for program in OTHERS):
            for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]", node.value):
                yield node.lineno, option


@pytest.mark.parametrize("folder", COMMANDS)
def test_an_option_that_a_message_names_is_there(folder: str) -> None:
    options = options_of(*COMMANDS[folder])
    named = [
        (f"{path.relative_to(ROOT)}:{line}", option)
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, option in named_options(path)
    ]
    assert len(named) > 3
    assert [entry for entry in named if entry[1] not in options] == []
