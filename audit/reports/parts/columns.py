"""Tables on terminals of any width: words wrap, columns move below, nothing is cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

_GAP = 2


def plain_console(stream: TextIO, *, width: int) -> Console:
    """A console without colours that prints names unchanged: no markup, no emoji codes."""
    return Console(
        file=stream, width=width, color_system=None, force_terminal=False, highlight=False, markup=False, emoji=False
    )


def print_table(table: Table, console: Console, *, keys: int = 1) -> None:
    """Print a table without a box in as many parts as it needs to fit; headers and cells are str or Text.

    keys: how many of the first columns name the rows. Every part repeats them, unbroken if they are short. If a single
    column beside them is too wide for the console, its words are broken, so no figure is cut off.
    """
    columns = table.columns
    natural = [_widest(column, _lines) for column in columns]
    least = [width if column.no_wrap else _widest(column, _words) for column, width in zip(columns, natural, strict=True)]
    least[:keys] = [
        full if full <= console.width // 3 else words for full, words in zip(natural, least[:keys], strict=False)
    ]
    fits = _total_width(natural) <= console.width
    parts = [list(range(len(columns)))] if fits else _parts(least, keys=keys, width=console.width)
    for number, part in enumerate(parts):
        if number:
            console.print()
        part_table = _table_of([columns[index] for index in part], title=None if number else table.title)
        widths = _shared([natural[index] for index in part], [least[index] for index in part], width=console.width)
        for column, width in zip(part_table.columns, widths, strict=True):
            column.width = width
        console.print(part_table)


def _parts(least: Sequence[int], *, keys: int, width: int) -> list[list[int]]:
    """The columns of each part: the keys and, in order, as many others as fit beside them."""
    key_columns = list(range(keys))
    parts = [[*key_columns]]
    for index in range(keys, len(least)):
        if len(parts[-1]) > keys and _total_width([least[column] for column in (*parts[-1], index)]) > width:
            parts.append([*key_columns])
        parts[-1].append(index)
    return parts


def _shared(natural: Sequence[int], least: Sequence[int], *, width: int) -> list[int]:
    """Column widths between the longest word and the longest line of each; free room is shared evenly."""
    widths, room = list(least), width - _total_width(least)
    if room < 0:  # the widest columns become narrower
        while _total_width(widths) > width and max(widths) > 1:
            widths[widths.index(max(widths))] -= 1
        return widths
    while room > 0 and (growing := [index for index, current in enumerate(widths) if current < natural[index]]):
        for index in growing[:room]:
            widths[index] += 1
        room -= len(growing[:room])
    return widths


def _table_of(columns: Sequence[Column], *, title: object) -> Table:
    table = Table(
        title=str(title) if title else None,
        title_justify="left",
        title_style="",
        box=None,
        padding=(0, _GAP, 0, 0),
        pad_edge=False,
        header_style="dim",
    )
    for column in columns:
        table.add_column(column.header, justify=column.justify, overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    return table


def _total_width(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _widest(column: Column, parts: Callable[[str], list[str]]) -> int:
    texts = [cell.plain if isinstance(cell, Text) else str(cell) for cell in (column.header, *column.cells)]
    return max((cell_len(part) for text in texts for part in parts(text)), default=0)


def _lines(text: str) -> list[str]:
    return text.split("\n")


def _words(text: str) -> list[str]:
    return text.split()
