"""What a docstring explains as `name: ...` is an argument of its function or a field of its class."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("artifacts", "audit", "engines", "export", "publish", "trainer")
EXPLAINED = re.compile(r"(?:^|(?<=[.;] )|(?<=\n))([a-z_]+(?:, [a-z_]+)*): ")


def names_of(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    if isinstance(node, ast.FunctionDef):
        given = node.args
        return {
            argument.arg
            for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
            if argument
        }
    inner = list(ast.walk(node))
    fields = {part.target.id for part in inner if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)}
    attributes = {part.attr for part in inner if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store)}
    methods = {part.name for part in inner if isinstance(part, ast.FunctionDef)}
    return fields | attributes | methods | {part.arg for part in inner if isinstance(part, ast.arg)}


def unknown(source: str) -> list[str]:
    return [
        f"{node.name}: {name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and names_of(node)
        for explained in EXPLAINED.findall(ast.get_docstring(node) or "")
        for name in explained.split(", ")
        if name not in names_of(node)
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_explain_what_is_there(package: str) -> None:
    wrong = {str(path): unknown(path.read_text(encoding="utf-8")) for path in sorted((ROOT / package).rglob("*.py"))}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_an_argument_that_is_not_there_is_seen() -> None:
    source = 'def export(run):\n    """Write it.\n\n    run: a folder. weights, run: of the model.\n    """\n'
    assert unknown(source) == ["export: weights"]
    assert unknown('class Order:\n    """One order.\n\n    run: a folder; weights: its model.\n    """\n    run: str\n') == [
        "Order: weights"
    ]
