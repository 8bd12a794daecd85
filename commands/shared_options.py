"""Options that several commands share, as decorators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from skinaudit.audit import reports
from skinaudit.commands.completion import report_formats

_Command = TypeVar("_Command", bound=Callable[..., Any])


MAX_SEED = 2**63 - 1
"""Every random generator takes it, and every file of JSON that a seed is written to."""


def seed_option(help: str | None = None, *, drawn: bool = False) -> Callable[[_Command], _Command]:
    """`--seed`, shared by every command that draws random numbers; drawn: anew each time, unless it is given."""
    default, shown = (None, "drawn anew") if drawn else (0, "0")
    return click.option("--seed", type=click.IntRange(0, MAX_SEED), default=default, show_default=shown, help=help)


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


def plan_options(command: _Command) -> _Command:
    """What says how a plan runs: `--device`, `--kernels`, `--runtime-cache`, `--cuda-graphs`."""
    options = (
        click.option("--device", type=click.IntRange(0), default=0, show_default=True, metavar="N",
                     help="CUDA device that runs a plan, as `skinaudit doctor` counts them."),
        click.option("--kernels", type=click.Choice(["eager", "none"]), default="eager", show_default=True,
                     help="Kernels of a TensorRT-RTX plan: compiled for each batch before it runs, or the general ones."),
        click.option("--runtime-cache", type=click.Path(path_type=Path), default=None, metavar="FILE",
                     help="Keep the kernels that TensorRT-RTX compiles in FILE, and use those that it holds."),
        click.option("--cuda-graphs", is_flag=True, help="Record the calls of a plan and replay them."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def allow_code_option(command: _Command) -> _Command:
    """`--allow-code`, shared by every command that opens an engine from elsewhere."""
    return click.option(
        "--allow-code", is_flag=True,
        help="Open engines that hold program code, such as compiled packages (.aoti.pt2) and version-compatible plans, too. "
        "Their code runs with your rights as soon as they are opened, so say so only of files that you trust. Exported "
        "programs (.pt2) need it where their process cannot be confined; see `skinaudit doctor`.",
    )(command)  # fmt: skip


def limit_options(command: _Command) -> _Command:
    """`--limit-seconds`, `--limit-memory`: of the process in which an engine is opened; in seconds and GiB."""
    options = (
        click.option("--limit-seconds", type=click.FloatRange(0, min_open=True), default=None, metavar="SECONDS",
                     help="Longest that an engine may take to open, or to answer one batch  [default: 300, more for large "
                     "files]."),
        click.option("--limit-memory", type=click.FloatRange(0, min_open=True), default=None, metavar="GIB",
                     help="Most memory that an engine may take, in GiB  [default: 4 and 20 times its file, at most 90% of "
                     "the machine's]."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def json_option(command: _Command) -> _Command:
    """`--json`, shared by every command that prints a table."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")(command)


def report_option(kind: reports.Kind) -> Callable[[_Command], _Command]:
    """`--report`, shared by every command that has audits to show."""
    return click.option(
        "--report", "report_texts", multiple=True, metavar="FORMAT=FILE", shell_complete=report_formats,
        help=f"Write this form to FILE, - for standard output; may be repeated. Formats: {', '.join(reports.names(kind))}.",
    )  # fmt: skip
