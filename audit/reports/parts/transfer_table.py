"""The transfer matrix on a terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from skinaudit.audit.figures.statistics import Interval
from skinaudit.audit.figures.text import points, span
from skinaudit.audit.reports.parts.columns import print_table
from skinaudit.audit.reports.parts.terminal_cells import new_table, print_line
from skinaudit.audit.transfer import Cell, TransferMatrix
from skinaudit.errors import counted


def print_transfer(matrix: TransferMatrix, console: Console) -> None:
    """Print robust accuracies with their intervals, then the balanced ones; clean images first."""
    if matrix.synthetic:
        print_line(console, "SYNTHETIC images: these figures say nothing about patients", style="bold magenta")
    counts = f"{counted(matrix.images, 'image')}, {counted(matrix.lesions, 'lesion')}"
    print_line(console, f"{matrix.attack}   {matrix.dataset}   {counts}")
    _print("accuracy", matrix, console, lambda cell: (cell.accuracy, cell.interval), constant=matrix.majority_share)
    _print("balanced accuracy", matrix, console, lambda cell: (cell.balanced, cell.balanced_interval),
           constant=matrix.constant_balanced)  # fmt: skip


def _print(
    figure: str,
    matrix: TransferMatrix,
    console: Console,
    shown: Callable[[Cell], tuple[float, Interval]],
    *,
    constant: float,
) -> None:
    print_line(console, "")
    print_line(console, f"{figure}, %, with 95% intervals; always {matrix.majority_class}: {points(constant)}")
    table = new_table("crafted on \\ tested on")
    for name in matrix.tested:
        table.add_column(name, justify="right", no_wrap=True)
    for title, row in zip(("clean", *matrix.names), (matrix.clean, *matrix.cells), strict=True):
        table.add_row(title, *(f"{points(value)} {span(interval)}" for value, interval in map(shown, row)))
    print_table(table, console)
