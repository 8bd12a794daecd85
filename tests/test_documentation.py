"""What README, docs, examples and the program's own texts tell people to type is what the program takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from skinaudit import cli

ROOT = Path(__file__).resolve().parents[1]
PROSE = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
SCRIPTS = [
    ROOT / "action.yml",
    *(path for path in sorted((ROOT / "examples").rglob("*")) if path.is_file() and path.suffix != ".md"),
]
FOLDERS = ("artifacts", "audit", "bench", "commands", "engines", "export", "trainer")
SOURCES = [*sorted(ROOT.glob("*.py")), *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))]
PROGRAM = r"(?<![\w/.@\[-])skinaudit +(?=[a-z-])"
END = re.compile(r" {3,}|->|[;|<>`]|&&|\)(?=\"|$)| #")
"""Where a command ends: remarks stand behind three blanks in listings."""
# Options of other programs that prose may name.
FOREIGN = {"--strict", "--editable", "--no-verify", "--builtin-schema"}


def listed(file: Path) -> Iterator[tuple[str, bool]]:
    """(a command's words behind `skinaudit`, whether it stands on a line of its own and so has to be complete)."""
    text = re.sub(r"\\\n *", "", file.read_text(encoding="utf-8"))
    for line in text.splitlines():
        bare = line.strip()
        no_picture = "->" not in line  # a picture of the way that data go
        listing = bool(re.match(r" {4,}|\t", line)) if file.suffix == ".md" else not bare.startswith(("#", "description:"))
        parts = [line] if listing and file.suffix != ".py" else re.findall(r"`[^`]+`", line)
        for part in parts:
            for command in re.split(PROGRAM, part)[1:]:
                yield END.split(command)[0].strip(), listing and no_picture and file.suffix != ".py"


def check(command: str, *, complete: bool) -> None:
    """Parse it as the program would, without running it. Raises click.UsageError."""
    words = [re.sub(r"\{.*?\}", "x", word) for word in shlex.split(command) if word not in ("$@", "...", '"$@"')]
    name, *arguments = words
    if name.startswith("-"):
        assert name in ("-h", "--help", "--version"), name
        return
    if name not in cli.commands.commands:
        raise click.UsageError(f"no command {name}")
    if "--help" in arguments:
        return
    try:
        cli.commands.commands[name].make_context(name, arguments)
    except click.MissingParameter:
        if complete:
            raise
    except click.BadParameter as error:
        if "does not exist" not in error.message:  # a document names files that a reader has
            raise


@pytest.mark.parametrize("file", [*PROSE, *SCRIPTS, *SOURCES], ids=lambda value: str(value.relative_to(ROOT)))
def test_every_command_that_is_told_is_taken(file: Path) -> None:
    for command, complete in listed(file):
        if command.startswith(('"${', "${{")):
            continue
        try:
            check(command, complete=complete)
        except (click.UsageError, ValueError) as error:
            pytest.fail(f"{file.relative_to(ROOT)}: skinaudit {command}: {error}")


def test_commands_are_found_where_they_stand(tmp_path: Path) -> None:
    lines = ("export --fp16      remark --odd", " report a.json | less", "a.onnx -> skinaudit train -> run")
    text = "Say `skinaudit audit`.\n\n" + "".join(f"    skinaudit {line}\n" for line in lines[:2]) + f"    {lines[2]}\n"
    (tmp_path / "a.md").write_text(text)
    assert list(listed(tmp_path / "a.md")) == [
        ("audit", False), ("export --fp16", True), ("report a.json", True), ("train", False)
    ]  # fmt: skip
    assert sum(1 for _ in listed(ROOT / "README.md")) > 5
    for wrong in ("audit", "audit a.onnx --polish", "audti a.onnx", "train --arch resnet", "report a b"):
        with pytest.raises(click.UsageError):
            check(wrong, complete=True)


@pytest.mark.parametrize("name", sorted(cli.commands.commands))
def test_every_help_has_examples_that_work(name: str) -> None:
    text = CliRunner().invoke(cli.commands, [name, "--help"]).output
    (examples,) = re.findall(r"\n  Examples?:\n((?:    .+\n)+)", text)
    commands = [END.split(command)[0] for line in examples.splitlines() for command in re.split(PROGRAM, line)[1:]]
    assert commands
    for command in commands:
        assert command.split()[0] == name
        check(command, complete=True)


@pytest.mark.parametrize("file", PROSE, ids=lambda value: str(value.relative_to(ROOT)))
def test_every_option_that_is_told_exists(file: Path) -> None:
    known = {
        option for command in cli.commands.commands.values() for parameter in command.params for option in parameter.opts
    } | {
        "--help",
        "--version",
    }
    for part in re.findall(r"`([^`\n]+)`", file.read_text(encoding="utf-8")):
        if re.match(r"--[a-z]", part):
            assert set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", part)) <= known | FOREIGN, part


@pytest.mark.parametrize("file", [*PROSE, *SCRIPTS], ids=lambda value: str(value.relative_to(ROOT)))
def test_every_make_target_that_is_told_exists(file: Path) -> None:
    targets = set(re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split())
    mentioned = re.findall(r"(?:^ {4}|`)make ([a-z-]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(mentioned) <= targets


def test_make_help_tells_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split())
    assert set(re.findall(r'@echo "make ([a-z-]+)', text)) == targets - {"help"}


@pytest.mark.parametrize("file", PROSE, ids=lambda value: str(value.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8")):
        assert re.match(r"https?://", target) or (file.parent / target).exists(), target


def test_the_table_of_help_texts_shows_the_present_ones() -> None:
    text = (ROOT / "docs" / "decisions" / "language.md").read_text(encoding="utf-8")
    in_table = dict(re.findall(r"^\| `([a-z]+)` \| .* \| (.*) \|$", text, re.MULTILINE))
    present = {
        name: " ".join((command.help or "").partition("\n\n")[0].split()) for name, command in cli.commands.commands.items()
    }
    assert in_table == present
