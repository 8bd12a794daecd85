"""What the site takes from the code: a page for each command, and where the API reference finds the package."""

from __future__ import annotations

import html
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ROOT / "build" / "site-package"
"""Where mkdocs.yml tells mkdocstrings to look."""
COMMANDS = "reference/commands.md"
LIBRARY = "reference/python.md"
_NOT_PACKAGE = {"bench", "build", "dist", "docs", "examples", "runs", "tests", "constraints"}


def on_startup(**_: Any) -> None:
    """Show the package to mkdocstrings in a folder of links: the root of the repository is the package itself."""
    link_package(SHOWN)
    sys.path.insert(0, str(SHOWN))


def on_config(config: Any) -> Any:
    """List a page for each command below the page of all commands."""
    from skinaudit.cli import commands

    for entry in config.nav:
        for pages in entry.values() if isinstance(entry, dict) else ():
            for page in pages if isinstance(pages, list) else ():
                if isinstance(page, dict) and COMMANDS in page.values():
                    page["Commands"] = [COMMANDS, *({name: page_of(name)} for name in commands.commands)]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the commands, made from their options."""
    from mkdocs.structure.files import File

    from skinaudit.cli import commands

    files.append(File.generated(config, COMMANDS, content=overview(commands)))
    for name, command in commands.commands.items():
        files.append(File.generated(config, page_of(name), content=command_page(name, command)))
    return files


def on_page_content(text: str, page: Any, **_: Any) -> str:
    """On the page of the library: show what a docstring says of each value as a list, one entry a name."""
    return (
        re.sub(r"<p>(.*?)</p>", lambda match: as_list(match[1]), text, flags=re.DOTALL)
        if page.file.src_uri == LIBRARY
        else text
    )


def as_list(paragraph: str) -> str:
    """HTML of a paragraph of a docstring, such as `seed: of the draws. steps, size: of each step. Raises ValueError if ...`.

    Each `name: ...` that begins a sentence becomes an entry of a list. What stands before the first stays a paragraph, and
    so does what begins with `Raises`.
    """
    parts = re.split(r"(?:^|(?<=[.;])\s+)(?=(?:[a-z_.]+(?:,\s+[a-z_.]+)*:\s)|Raises\s)", paragraph)
    shown = ""
    for part in (part.strip() for part in parts if part.strip()):
        names, colon, meaning = part.partition(": ") if re.match(r"[a-z_.]+(,\s+[a-z_.]+)*:\s", part) else ("", "", part)
        shown += f"<ul><li><code>{names}</code>: {meaning}</li></ul>" if colon else f"<p>{meaning}</p>"
    return shown.replace("</ul><ul>", "")


def page_of(name: str) -> str:
    """Path of the page of a command in the documentation."""
    return f"reference/commands/{name}.md"


def link_package(folder: Path) -> None:
    """Make `folder` hold `skinaudit` alone: links to the package's own files and folders."""
    package = folder / "skinaudit"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    for source in ROOT.iterdir():
        part = source.is_dir() and (source / "__init__.py").is_file() and source.name not in _NOT_PACKAGE
        if part or source.suffix == ".py":
            (package / source.name).symlink_to(source)


def overview(program: Any) -> str:
    """The list of all commands as Markdown. program: `skinaudit.cli.commands`, whose sections give the order."""
    lines = ["# Commands", "", "Made from the program: `skinaudit COMMAND --help` says the same.", ""]
    lines += ["| command | what it does |", "|---|---|"]
    for title, names in program.sections.items():
        lines.append(f"| **{title}** | |")
        lines += [f"| [`{name}`](commands/{name}.md) | {program.commands[name].get_short_help_str(200)} |" for name in names]
    lines += ["", "Options of all commands:", "", *_table({"": program.params}, click.Context(program))]
    return "\n".join(lines) + "\n"


def command_page(name: str, command: click.Command) -> str:
    """The reference of one command as Markdown."""
    from skinaudit.commands.grouped_help import GroupedCommand

    context = click.Context(command, info_name=f"skinaudit {name}")
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    about, _, examples = (command.help or "").partition("\b\n")
    lines = [f"# {name}", "", f"    {usage}", "", *(line.strip() for line in _shown(about).splitlines()), ""]
    if examples:
        lines += ["Examples:", "", *(f"    {line.strip()}" for line in examples.splitlines()[1:] if line.strip()), ""]
    sections = command.options_by_section(context) if isinstance(command, GroupedCommand) else {"": command.params}
    return "\n".join([*lines, *_table(sections, context)]) + "\n"


def _table(sections: Mapping[str, Sequence[click.Parameter]], context: click.Context) -> Iterator[str]:
    """The options of each section. A section without a title has no row for it."""
    rows = []
    for title, options in sections.items():
        rows += [f"| **{title}** | |"] if title else []
        rows += [_row(option, context) for option in options if isinstance(option, click.Option) and not option.hidden]
    if rows:
        yield from ("| option | meaning |", "|---|---|", *rows)


def _row(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    assert record is not None
    names = ", ".join(f"<code>{word}</code>" for word in (*option.opts, *option.secondary_opts))
    meaning = re.sub(r"0<=x<=\d{12,}", "x>=0", " ".join(record[1].split()))  # the largest seed widens the page
    value = "" if option.is_flag or option.count else option.make_metavar(context).strip("[]").replace("|", " | ")
    return f"| {names} {_shown(value)} | {_shown(meaning)} |"


def _shown(text: str) -> str:
    """HTML inside of Markdown that shows a text as it is, with `code` as code."""
    whole = re.sub(r"[\\*_\[\]{}#|]", lambda sign: f"&#{ord(sign[0])};", html.escape(text, quote=False))
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", whole)
