"""How large the product's code is, without tests, bench and examples: files, lines, the longest file and function.

python bench/code_size.py
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {"tests", "bench", "examples", "docs", "build", "runs"}


def sources(root: Path) -> dict[str, str]:
    """The text of each file of the product by its path from `root`."""
    paths = (path.relative_to(root) for path in sorted(root.rglob("*.py")))
    inside = (path for path in paths if path.parts[0] not in OUTSIDE and not path.parts[0].startswith("."))
    return {path.as_posix(): (root / path).read_text(encoding="utf-8") for path in inside}


def functions(text: str) -> Iterator[tuple[int, str]]:
    """(lines, name) of each function of a file, from `def` to its last line, nested ones as well."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.end_lineno - node.lineno + 1, node.name


def size_rows(files: dict[str, str]) -> list[tuple[str, str]]:
    """The rows of the table: what is counted, and the figure."""
    lines = {path: len(text.splitlines()) for path, text in files.items()}
    all_functions = [(*function, path) for path, text in files.items() for function in functions(text)]
    length, name, place = max(all_functions)
    longest = max(lines, key=lambda path: lines[path])
    in_audit = [path for path in files if path.startswith("audit/")]
    share = sum(lines[path] for path in in_audit) / sum(lines.values())
    return [
        ("files", f"{len(files):,}"),
        ("lines", f"{sum(lines.values()):,}"),
        ("functions", f"{len(all_functions):,}"),
        ("functions over 60 lines", f"{sum(count > 60 for count, _, _ in all_functions)}"),
        ("longest function", f"{length} (`{name}` in `{place}`)"),
        ("files over 250 lines", f"{sum(count > 250 for count in lines.values())}"),
        ("longest file", f"{lines[longest]} (`{longest}`)"),
        ("Python files directly in `audit/`", f"{sum(path.count('/') == 1 for path in in_audit)}"),
        ("share of `audit/` in all lines", f"{share:.0%}"),
    ]


if __name__ == "__main__":
    for title, figure in size_rows(sources(ROOT)):
        print(f"| {title} | {figure} |")
