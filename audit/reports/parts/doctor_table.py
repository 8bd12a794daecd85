"""What is installed, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from skinaudit.audit.figures.text import NOTHING
from skinaudit.audit.reports.parts.columns import print_table
from skinaudit.audit.reports.parts.terminal_cells import new_table, print_line
from skinaudit.engines.doctor import RuntimeReport


def print_doctor(reports: Sequence[RuntimeReport], console: Console) -> None:
    """Print what is installed as a table; below it, the commands that install the rest, and problems."""
    table = new_table("runtime")
    for title in ("version", "devices", "builds", "runs"):
        table.add_column(title, overflow="fold")
    for report in reports:
        version = Text(report.version, style="green") if report.version else Text("missing", style="yellow")
        table.add_row(
            report.name, version, ", ".join(report.devices) or NOTHING, report.builds or NOTHING, report.runs or NOTHING
        )
    print_table(table, console)
    for report in reports:
        if report.version is None:
            print_line(console, f"{report.name}: {report.install}")
    for report in reports:
        if report.note:
            print_line(console, f"{report.name}: {report.note}", style="magenta")
