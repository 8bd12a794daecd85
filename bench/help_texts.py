"""The help of every command, before and now: a table of the first paragraphs, or the whole help of some commands.

python bench/help_texts.py fcdcfe4                 the table in docs/decisions/language.md
python bench/help_texts.py fcdcfe4 train audit     the whole help of two commands, before and now
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
READ = """
import click, json
from skinaudit.cli import commands
texts = {name: command.get_help(click.Context(command, info_name=f"skinaudit {name}", max_content_width=80))
         for name, command in commands.commands.items()}
abouts = {name: command.help for name, command in commands.commands.items()}
print(json.dumps([abouts, texts]))
"""


@click.command(help=__doc__)
@click.argument("commit")
@click.argument("commands", nargs=-1)
def main(commit: str, commands: tuple[str, ...]) -> None:
    """Read the help of both versions, each in a process of its own, and print it."""
    with tempfile.TemporaryDirectory() as folder:
        before = read_help(unpack(commit, Path(folder)))
        checkout = Path(folder) / "here"
        checkout.mkdir()
        (checkout / "skinaudit").symlink_to(ROOT)
        now = read_help(checkout)
    if not commands:
        print(table(before[0], now[0]))
    for name in commands:
        for title, texts in (("before", before[1]), ("now", now[1])):
            print(f"== skinaudit {name} --help, {title}\n\n{texts.get(name, 'There was no such command.')}\n")


def unpack(commit: str, folder: Path) -> Path:
    """The folder that holds the package `skinaudit` as it was in a commit of this repository."""
    archive = folder / "before.tar"
    subprocess.run(["git", "-C", str(ROOT), "archive", "--output", str(archive), commit], check=True)
    with tarfile.open(archive) as packed:
        packed.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has none
        packed.extractall(folder / "before" / "skinaudit")
    return folder / "before"


def read_help(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """(what each command says of itself, its whole help) of the package in the folder `path`."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    process = subprocess.run([sys.executable, "-c", READ], env=environment, cwd=path, stdout=subprocess.PIPE, check=True)
    abouts, texts = json.loads(process.stdout)
    return abouts, texts


def table(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """A Markdown table of the first paragraphs, in the present order of the commands. A new command has a dash."""
    rows = [
        f"| `{name}` | {first_paragraph(before[name]) if name in before else '-'} | {first_paragraph(about)} |"
        for name, about in now.items()
    ]
    return "\n".join(["| command | before | now |", "|---|---|---|", *rows])


def first_paragraph(text: str) -> str:
    """The first paragraph of a help text, on one line."""
    return " ".join(text.partition("\n\n")[0].split())


if __name__ == "__main__":
    main()
