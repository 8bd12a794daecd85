"""A lineup of audits as GitHub-flavoured Markdown, for comments on pull requests and for job summaries."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.reports.parts.lineup import Lineup
from skinaudit.audit.reports.parts.lineup_text import Table, notes, tables
from skinaudit.audit.reports.parts.wording import markdown_text as safe


def render(lineup: Lineup) -> str:
    """The tables of a lineup, with notes below them. Text from files is escaped."""
    lines = ["## Audits"]
    for table in tables(lineup):
        lines += ["", *_lines(table)]
    return "\n".join((*lines, *(f"\n{safe(note)}" for note in notes(lineup)))) + "\n"


def _lines(table: Table) -> Iterator[str]:
    yield _row(table.heads)
    yield _row(["--:" if 0 < column <= table.numbers else ":--" for column in range(len(table.heads))])
    for row in table.rows:
        cells = [safe(cell) for cell in row]
        yield _row([f"**{cells[0]}**", *[""] * (len(table.heads) - 1)] if len(row) == 1 else cells)


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
