"""Parts of the terminal output: a table without lines, cells, and lines of text."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from skinaudit.audit.checks.emulation import EMULATION
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.text import NOTHING
from skinaudit.audit.judgement.result import AuditResult, Judgement, Verdict

STYLES = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "yellow"}


def new_table(first: str) -> Table:
    """A table without lines between its cells; `first` is the title of its first column."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(first)
    return table


def set_name(set_result: SetResult, result: AuditResult) -> str:
    """The title of a set, with a star for a transfer set."""
    title = set_result.title if set_result.white_box or set_result.clean else f"{set_result.title} *"
    # Broken into two lines, so that it fits beside the figures.
    return "\n".join((title, *map(str.strip, EMULATION.split(",")))) if result.emulated else title


def verdict_text(judgement: Judgement | None) -> Text:
    """A verdict in colour."""
    if judgement is None:
        return Text("not compared")
    return Text(judgement.verdict.value, style=STYLES[judgement.verdict])


def print_line(console: Console, text: str, *, style: str = "") -> None:
    """Print a text on its own line, wrapped if the console is too narrow."""
    console.print(Text(text, style=style), soft_wrap=False)


def pair(source: float | None, engine: float | None) -> str:
    """Source and engine, in percent."""
    if engine is None:
        return NOTHING
    return f"{100 * engine:.1f}" if source is None else f"{100 * source:.1f} -> {100 * engine:.1f}"


def hits_share(hits: Hits | None) -> str:
    """A share of correct answers, in percent."""
    return NOTHING if hits is None or hits.share is None else f"{100 * hits.share:.1f}"
