"""What the site takes from the code: the page of the commands, and where the API reference finds the package."""

from __future__ import annotations

import html
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ROOT / "build" / "site-package"
"""Where mkdocs.yml tells mkdocstrings to look."""
COMMANDS = "reference/commands.md"
_NOT_PACKAGE = {"bench", "build", "dist", "docs", "examples", "runs", "tests", "constraints"}


def on_startup(**_: Any) -> None:
    """Show the package to mkdocstrings in a folder of links: the root of the repository is the package itself."""
    link_package(SHOWN)
    sys.path.insert(0, str(SHOWN))


def on_files(files: Any, config: Any) -> Any:
    """Add the page of the commands, made from their options."""
    from mkdocs.structure.files import File

    from skinaudit.cli import commands

    files.append(File.generated(config, COMMANDS, content=commands_page(commands)))
    return files


def link_package(folder: Path) -> None:
    """Make `folder` hold `skinaudit` alone: links to the package's own files and folders."""
    package = folder / "skinaudit"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    for source in ROOT.iterdir():
        part = source.is_dir() and (source / "__init__.py").is_file() and source.name not in _NOT_PACKAGE
        if part or source.suffix == ".py":
            (package / source.name).symlink_to(source)


def commands_page(program: Any) -> str:
    """The reference of all commands as Markdown. program: `skinaudit.cli.commands`, whose sections give the order."""
    lines = ["# Commands", "", "Made from the program: `skinaudit COMMAND --help` says the same.", ""]
    lines += ["| command | what it does |", "|---|---|"]
    for title, names in program.sections.items():
        lines.append(f"| **{title}** | |")
        lines += [f"| [`{name}`](#{name}) | {program.commands[name].get_short_help_str(200)} |" for name in names]
    lines += ["", "Options of all commands:", "", *_table(program)]
    for name in (name for names in program.sections.values() for name in names):
        lines += ["", f"## {name}", "", *_command(name, program.commands[name])]
    return "\n".join(lines) + "\n"


def _command(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=f"skinaudit {name}")
    yield f"    {' '.join([context.command_path, *command.collect_usage_pieces(context)])}"
    about, _, examples = (command.help or "").partition("\b\n")
    yield from ("", *(line.strip() for line in _shown(about).splitlines()), "")
    yield from _table(command)
    if examples:
        yield from ("", "Examples:", "", *(f"    {line.strip()}" for line in examples.splitlines()[1:] if line.strip()))


def _table(command: click.Command) -> Iterator[str]:
    context = click.Context(command)
    shown = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    if not shown:
        return
    yield "| option | meaning |"
    yield "|---|---|"
    for option in shown:
        record = option.get_help_record(context)
        assert record is not None
        names = ", ".join(f"<code>{word}</code>" for word in (*option.opts, *option.secondary_opts))
        value = "" if option.is_flag or option.count else option.make_metavar(context).strip("[]").replace("|", " | ")
        yield f"| {names} {_shown(value)} | {_shown(' '.join(record[1].split()))} |"


def _shown(text: str) -> str:
    """HTML inside of Markdown that shows a text as it is, with `code` as code."""
    whole = re.sub(r"[\\*_\[\]{}#|]", lambda sign: f"&#{ord(sign[0])};", html.escape(text, quote=False))
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", whole)
