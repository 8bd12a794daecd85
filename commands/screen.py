"""What a person sees while a command works: remarks and progress on stderr, tables on a console."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from skinaudit.artifacts.files import Progress
    from skinaudit.trainer.train import Reporter


def note(text: str) -> None:
    """A remark on stderr, so that standard output holds results alone."""
    click.echo(text, err=True)


def reporter(bar: Callable[[str], Progress | None]) -> Reporter:
    """What a training has to tell, as lines and bars on stderr."""
    from skinaudit.trainer.train import Reporter

    return Reporter(
        say=note,
        data=lambda summary: note("\n".join(summary.lines())),
        epoch=lambda record: note(_epoch_line(record)),
        progress=bar,
    )


def console(*, stderr: bool = False) -> Console:
    """Where tables are printed: standard output, unless that is for JSON."""
    from rich.console import Console

    return Console(highlight=False, stderr=stderr)


@contextmanager
def bars() -> Iterator[Callable[[str], Progress | None]]:
    """Progress bars on stderr with rate and time left; nothing at all where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    class Rate(ProgressColumn):
        def render(self, task: Any) -> str:
            return f"{task.speed:,.0f} images/s" if task.speed else ""

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as shown:

        def bar(title: str) -> Progress:
            task = shown.add_task(title, total=None)
            return lambda done, total: shown.update(task, completed=done, total=total, visible=done < total)

        yield bar


def _epoch_line(epoch: dict[str, Any]) -> str:
    line = f"epoch {epoch['epoch']:>3}  loss {epoch['loss']:.3f}"
    line += f"  validation {epoch['val_accuracy']:.1%} (balanced {epoch['val_balanced_accuracy']:.1%})"
    if "val_robust_accuracy" in epoch:
        line += f"  PGD {epoch['val_robust_accuracy']:.1%} (balanced {epoch['val_robust_balanced_accuracy']:.1%})"
    return line + f"  {epoch['images_per_second']:,.0f} images/s" + ("  best" if epoch["best"] else "")
