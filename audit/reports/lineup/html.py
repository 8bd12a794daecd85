"""A lineup of audits as one HTML page that loads nothing and runs no script."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files

from skinaudit.audit.reports.parts.lineup import Lineup
from skinaudit.audit.reports.parts.lineup_text import Table, notes, tables

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_WORDS = {"PASS": "pass", "FAIL": "fail", "ERROR": "fail", "INCONCLUSIVE": "inconclusive"}


def render(lineup: Lineup) -> str:
    """The tables of a lineup, with notes above them. Text from files is escaped."""
    style = files("skinaudit.audit.reports.page").joinpath("style.css").read_text(encoding="utf-8")
    lines = [
        "<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        "<title>Audits beside each other, skinaudit compare</title>", f"<style>\n{style}</style>", "</head>", "<body>",
        "<header>", "<h1>Audits beside each other <small>skinaudit compare</small></h1>",
        *(f'<p class="banner">{escape(note)}</p>' for note in notes(lineup)), "</header>", '<main id="content">',
    ]  # fmt: skip
    for table in tables(lineup):
        lines += _lines(table)
    return "\n".join((*lines, "</main>", "</body>", "</html>")) + "\n"


def _lines(table: Table) -> Iterator[str]:
    name = escape(table.heads[0])
    yield f'<section>\n<div class="scroll" tabindex="0" role="region" aria-label="Table of {name}">\n<table class="wide">'
    heads = (f'<th scope="col"{_kind(table, column)}>{escape(head)}</th>' for column, head in enumerate(table.heads))
    yield f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>"
    for heading, *cells in table.rows:
        if not cells:
            yield f'<tr><th scope="rowgroup" colspan="{len(table.heads)}">{escape(heading)}</th></tr>'
            continue
        body_cells = "".join(f"<td{_kind(table, column)}>{_cell(cell)}</td>" for column, cell in enumerate(cells, start=1))
        yield f'<tr><th scope="row">{escape(heading)}</th>{body_cells}</tr>'
    yield "</tbody>\n</table>\n</div>\n</section>"


def _kind(table: Table, column: int) -> str:
    return "" if column <= table.numbers else ' class="text"'


def _cell(text: str) -> str:
    return f'<span class="word-{_WORDS[text]}">{text}</span>' if text in _WORDS else escape(text)
