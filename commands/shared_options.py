"""Options that several commands share, as decorators."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from skinaudit.audit import reports
from skinaudit.commands.completion import report_formats

_Command = TypeVar("_Command", bound=Callable[..., Any])


MAX_SEED = 2**63 - 1
"""Every random generator takes it, and every file of JSON that a seed is written to."""


def seed_option(help: str | None = None) -> Callable[[_Command], _Command]:
    """`--seed`, shared by every command that draws random numbers."""
    return click.option("--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default="0", help=help)


def threads_option(command: _Command) -> _Command:
    """`--threads`, shared by every command that computes."""
    return click.option(
        "--threads",
        type=click.IntRange(1),
        default=None,
        help="CPU threads (default: as many as there are cores for this process).",
    )(command)


def provider_option(command: _Command) -> _Command:
    """`--provider`, shared by every command that opens an engine."""
    return click.option(
        "--provider", type=click.Choice(["cpu", "cuda"]), default=None,
        help="Where the engine runs  [default: cuda for plans, else cpu]. If it cannot run there, that is an error, never a "
        "silent fallback.",
    )(command)  # fmt: skip


def json_option(command: _Command) -> _Command:
    """`--json`, shared by every command that prints a table."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")(command)


def report_option(kind: reports.Kind) -> Callable[[_Command], _Command]:
    """`--report`, shared by every command that has audits to show."""
    return click.option(
        "--report", "report_texts", multiple=True, metavar="FORMAT=FILE", shell_complete=report_formats,
        help=f"Write this form to FILE, - for standard output; may be repeated. Formats: {', '.join(reports.names(kind))}.",
    )  # fmt: skip


def thread_count(threads: int | None) -> int:
    if threads is not None:
        return threads
    # A container or a batch system may grant fewer cores than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
