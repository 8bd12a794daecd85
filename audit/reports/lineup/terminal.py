"""A lineup of audits for people: tables that are split on a narrow terminal."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from skinaudit.audit.figures.text import NOTHING
from skinaudit.audit.reports.parts.columns import plain_console, print_table
from skinaudit.audit.reports.parts.lineup import Lineup
from skinaudit.audit.reports.parts.lineup_text import Table, notes, tables

_STYLES = {"PASS": "green", "FAIL": "bold red", "ERROR": "bold red", "INCONCLUSIVE": "yellow"}
_WIDTH = 100


def render(lineup: Lineup) -> str:
    """The output of print_lineup, as text without colours."""
    stream = io.StringIO()
    print_lineup(lineup, plain_console(stream, width=_WIDTH))
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def print_lineup(lineup: Lineup, console: Console) -> None:
    """Print the tables of a lineup, with notes below them."""
    for index, table in enumerate(tables(lineup)):
        if index:
            console.print()
        print_table(_table(table.narrow), console)
        if table.sentences:
            _print_sentences(table, console)
    for note in notes(lineup):
        console.print(Text(note, style="magenta"))


def _print_sentences(table: Table, console: Console) -> None:
    """The last column, printed below the table: one line for each row with a text in it."""
    console.print()
    console.print(Text(f"{table.heads[-1]}, or why there is no audit", style="dim"))
    for row in table.rows:
        if row[-1] != NOTHING:
            console.print(Text(f"{row[0]}: {row[-1]}"))


def _table(table: Table) -> RichTable:
    rich_table = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column, head in enumerate(table.heads):
        figures = 0 < column <= table.numbers
        short = figures or head == "verdict"
        rich_table.add_column(head, justify="right" if figures else "left", no_wrap=short, overflow="fold")
    for row in table.rows:
        if len(row) == 1:
            rich_table.add_row(Text(row[0], style="bold"))
        else:
            rich_table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    return rich_table
