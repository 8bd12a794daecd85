"""The documentation site: its pages, what is made from the code, and nothing from another host."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml

from skinaudit import cli
from skinaudit.commands.grouped_help import GroupedCommand

ROOT = Path(__file__).resolve().parents[1]
SETTINGS: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / "docs" / "site" / "hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for value in entry.values() if isinstance(entry, dict) else entry:
            yield from pages(value)


def test_every_page_is_in_the_navigation(hook: ModuleType) -> None:
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    listed = list(pages(SETTINGS["nav"]))
    assert sorted(listed) == sorted({*written, hook.COMMANDS})


@pytest.mark.parametrize("name", cli.commands.commands)
def test_the_page_of_a_command_has_every_option_once(hook: ModuleType, name: str) -> None:
    command = cli.commands.commands[name]
    text = hook.command_page(name, command)
    assert text.startswith(f"# {name}\n\n    skinaudit {name}")
    for option in command.params:
        if isinstance(option, click.Option):
            assert [text.count(f"<code>{word}</code>") > 0 for word in option.opts] == [not option.hidden] * len(option.opts)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} <= {3}
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    titles = len(command.sections) if isinstance(command, GroupedCommand) else 0
    assert len([row for row in rows if row.startswith("| <code>-")]) - ("<code>--help</code>" in text) == len(options)
    assert len([row for row in rows if row.startswith("| **")]) - ("**Other options**" in text) == titles


def test_every_command_has_a_page_below_the_page_of_all(hook: ModuleType) -> None:
    text = hook.overview(cli.commands)
    config = types.SimpleNamespace(nav=yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    below = set(pages(hook.on_config(config).nav)) - set(pages(SETTINGS["nav"]))
    assert below == {hook.page_of(name) for name in cli.commands.commands}
    assert all(f"](commands/{name}.md)" in text for name in cli.commands.commands)


def test_a_docstring_is_shown_as_a_list_of_its_names(hook: ModuleType) -> None:
    page = hook.as_list(
        "A set. Invariant: it is whole. norm, eps: of <code>x</code>: all\nor none. Long. path: its\nfile. Raises E: x."
    )
    assert page == (
        "<p>A set. Invariant: it is whole.</p><ul><li><code>norm, eps</code>: of <code>x</code>: all\nor none. Long.</li>"
        "<li><code>path</code>: its\nfile.</li></ul><p>Raises E: x.</p>"
    )
    assert hook.as_list("a: b. c.d: e.") == "<ul><li><code>a</code>: b.</li><li><code>c.d</code>: e.</li></ul>"
    assert hook.as_list("Nothing: to list, 3 of a: b.") == "<p>Nothing: to list, 3 of a: b.</p>"


def test_the_package_is_shown_without_its_tests(hook: ModuleType, tmp_path: Path) -> None:
    for _ in range(2):  # the second time in place of the first
        hook.link_package(tmp_path)
    names = {path.name for path in (tmp_path / "skinaudit").iterdir()}
    assert SETTINGS["plugins"][1]["mkdocstrings"]["handlers"]["python"]["paths"] == [hook.SHOWN.relative_to(ROOT).as_posix()]
    assert {"__init__.py", "cli.py", "audit", "trainer", "commands"} <= names
    assert not {"tests", "docs", "bench", "build", ".typing"} & names


@pytest.mark.parametrize("name", ["add-a-check"])
def test_the_programs_of_a_task_are_whole(name: str) -> None:
    text = (ROOT / "docs" / "tasks" / f"{name}.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(programs) == 2
    for program in programs:
        compile(program, name, "exec")


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None:
        pytest.skip("mkdocs is not installed (extra docs): make docs builds the site strictly, too")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    process = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    loaded = set()
    for page in tmp_path.rglob("*.html"):
        loaded |= set(re.findall(r'<(?:script|link|img)\b[^>]*(?:src|href)="(https?:[^"]+)"', page.read_text("utf-8")))
    assert loaded == set()
