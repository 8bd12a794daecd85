"""What a person sees while a command works: remarks and progress on stderr, tables on a console."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from skinaudit.artifacts.printable import printable, printable_lines, printable_table
from skinaudit.commands.loudness import quiet

if TYPE_CHECKING:
    from rich.console import Console

    from skinaudit.artifacts.files import Progress
    from skinaudit.trainer.reporter import Reporter

FIRST_LINE = 5.0
NEXT_LINE = 10.0


def note(text: str) -> None:
    """A remark on stderr, so that standard output has only results."""
    click.echo(printable_lines(text), err=True)


def step(text: str) -> None:
    """A line on stderr about work in progress; -q leaves it out."""
    if not quiet():
        note(text)


def say(text: str) -> None:
    """A line of the result on standard output."""
    click.echo(printable_lines(text))


def say_table(rows: Sequence[Sequence[str]]) -> None:
    """A table of the result on standard output: names aligned to the left, figures to the right."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *cells_after in cells:
        figures = (f"{cell:>{width}}" for cell, width in zip(cells_after, widths[1:], strict=True))
        click.echo(printable_table("  ".join((f"{first:<{widths[0]}}", *figures))))


def reporter(bar: Callable[[str], Progress | None]) -> Reporter:
    """The reporter of a training that prints lines and bars on stderr."""
    from skinaudit.trainer.reporter import Reporter

    return Reporter(
        say=step,
        data=lambda summary: None if quiet() else click.echo(printable_table("\n".join(summary.lines())), err=True),
        epoch=lambda record: step(_epoch_line(record)),
        progress=bar,
    )


def console(*, stderr: bool = False) -> Console:
    """The console for tables. stderr: use standard error, because standard output is for JSON."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, stderr=stderr)


@contextmanager
def bars() -> Iterator[Callable[[str], Progress | None]]:
    """Progress on stderr, by title: on a terminal a bar with rate and time left, elsewhere a line from time to time.

    With -q there is none.
    """
    if quiet():
        yield lambda title: None
        return
    if sys.stderr is None or not sys.stderr.isatty():
        yield progress_lines(note)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    class Rate(ProgressColumn):
        def render(self, task: Any) -> str:
            return f"{_rate(task.speed)} per second" if task.speed else ""

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as progress_bars:

        def bar(title: str) -> Progress:
            task = progress_bars.add_task(printable(title), total=None)
            return lambda done, total: progress_bars.update(task, completed=done, total=total, visible=done < total)

        yield bar


def progress_lines(
    say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
) -> Callable[[str], Progress]:  # fmt: skip
    """Progress by title as lines: none for the first FIRST_LINE seconds, then a line every NEXT_LINE seconds.

    say: called with a line. clock: returns seconds.
    """
    due = clock() + FIRST_LINE

    def line(title: str) -> Progress:
        start: tuple[float, int] | None = None  # when this part was first reported, and how far it was

        def progress(done: int, total: int) -> None:
            nonlocal due, start
            now = clock()
            start = start or (now, done)
            if now < due or done >= total:
                return
            due = now + NEXT_LINE
            text = f"{title}: {done:,} of {total:,} ({done / total:.0%})"
            rate = (done - start[1]) / (now - start[0]) if now > start[0] else 0.0
            say(f"{text}, {_rate(rate)} per second, {_duration((total - done) / rate)} left" if rate else text)

        return progress

    return line


def _rate(rate: float) -> str:
    """One significant digit below 10, so that a slow part does not show 0."""
    return f"{rate:,.0f}" if rate >= 9.5 else f"{rate:.1g}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _epoch_line(epoch: dict[str, Any]) -> str:
    line = f"epoch {epoch['epoch']:>3}  loss {epoch['loss']:.3f}"
    line += f"  validation {epoch['val_accuracy']:.1%} (balanced {epoch['val_balanced_accuracy']:.1%})"
    if "val_robust_accuracy" in epoch:
        line += f"  PGD {epoch['val_robust_accuracy']:.1%} (balanced {epoch['val_robust_balanced_accuracy']:.1%})"
    if epoch.get("val_overfitted"):
        line += "  OVERFITTED to its one-step attack"
    return line + f"  {epoch['images_per_second']:,.0f} images/s" + ("  best" if epoch["best"] else "")
