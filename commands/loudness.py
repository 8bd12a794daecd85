"""`-v` and `-q`: how much a command reports about its work on stderr. Results, warnings and errors are always shown.

Remarks of libraries are for developers and may contain text of a file from outside. They are shown with -v, cleaned.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from skinaudit.artifacts.printable import printable_lines

_QUIET = "skinaudit.quiet"
LOGGER = "skinaudit"
"""The logger of the whole package, for -v and for programs that import it."""


_LIBRARIES = f"{LOGGER}.libraries"
"""The logger for the remarks of libraries."""


def quiet() -> bool:
    """Whether the running command was started with -q."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


def options(*, hidden: bool) -> list[click.Option]:
    """`-v` and `-q` of the program. Each command has them too, hidden, because people add them at the end."""
    return [
        click.Option(
            ["-v", "--verbose"], count=True, expose_value=False, callback=_be_verbose, hidden=hidden,
            help="Show on stderr what happens; -vv shows more.",
        ),
        click.Option(
            ["-q", "--quiet"], is_flag=True, expose_value=False, callback=_be_quiet, hidden=hidden,
            help="Show no progress. Results, warnings and errors stay.",
        ),
    ]  # fmt: skip


class _Stderr(logging.Handler):
    """Writes records to the current standard error, without the control characters that a name may contain."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(printable_lines(self.format(record)), err=True)


class _Forward(logging.Handler):
    """Forwards the records of libraries, which Python would otherwise write to standard error unchanged."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(_LIBRARIES).info("%s: %s", record.name, record.getMessage())


@contextmanager
def libraries_held_back() -> Iterator[None]:
    """Inside, warnings and log records of libraries are shown only with -v, and never with their control characters."""

    def warn(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        logging.getLogger(_LIBRARIES).info("%s:%d: %s: %s", filename, lineno, category.__name__, message)

    last, logging.lastResort = logging.lastResort, _Forward(logging.WARNING)
    shown, warnings.showwarning = warnings.showwarning, warn
    try:
        yield
    finally:
        logging.lastResort, warnings.showwarning = last, shown


def _be_quiet(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        context.meta[_QUIET] = True


def _be_verbose(context: click.Context, parameter: click.Parameter, count: int) -> None:
    if not count:
        return
    logger, handler = logging.getLogger(LOGGER), _Stderr()
    before = logger.level
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if count == 1 else logging.DEBUG)

    @context.call_on_close
    def restore() -> None:
        logger.removeHandler(handler)
        logger.setLevel(before)
