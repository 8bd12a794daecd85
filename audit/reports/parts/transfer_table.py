"""The transfer matrix on a terminal."""

from __future__ import annotations

from rich.console import Console

from skinaudit.audit.reports.parts.columns import print_table
from skinaudit.audit.reports.parts.terminal_cells import new_table, print_line
from skinaudit.audit.transfer import TransferMatrix
from skinaudit.errors import counted


def print_transfer(matrix: TransferMatrix, console: Console) -> None:
    """Print the transfer matrix: robust accuracy, followed by the balanced one; clean images first."""
    if matrix.synthetic:
        print_line(console, "SYNTHETIC images: these figures say nothing about patients", style="bold magenta")
    counts = f"{counted(matrix.images, 'image')}, {counted(matrix.lesions, 'lesion')}"
    print_line(console, f"{matrix.attack}   {matrix.dataset}   {counts}")
    table = new_table("crafted on \\ tested on")
    for name in matrix.names:
        table.add_column(name, justify="right", overflow="fold")
    for title, row in zip(("clean", *matrix.names), (matrix.clean, *matrix.cells), strict=True):
        table.add_row(title, *(f"{100 * cell.accuracy:.1f}% ({100 * cell.balanced:.1f})" for cell in row))
    print_table(table, console)
    print_line(
        console,
        f"accuracy (balanced); always {matrix.majority_class}: {matrix.majority_share:.1%} "
        f"({100 * matrix.constant_balanced:.1f})",
    )
