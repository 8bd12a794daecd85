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
"""The largest seed that every random generator and every JSON file can represent."""
MAX_THREADS = 1024
"""More than a machine has. Some libraries take no larger number, others end the process if they cannot start them."""


def seed_option(help: str | None = None, *, drawn: bool = False) -> Callable[[_Command], _Command]:
    """`--seed`, shared by every command that draws random numbers. drawn: there is no default seed; each call draws one."""
    default = None if drawn else 0
    return click.option(
        "--seed", type=click.IntRange(0, MAX_SEED), metavar="N", default=default, show_default=not drawn, help=help
    )


def threads_option(command: _Command) -> _Command:
    """`--threads`, shared by every command that computes."""
    return click.option(
        "--threads",
        type=click.IntRange(1, MAX_THREADS),
        default=None,
        help="CPU threads  [default: all cores available to this process].",
    )(command)


def provider_option(command: _Command) -> _Command:
    """`--provider`, shared by every command that opens an engine."""
    return click.option(
        "--provider", type=click.Choice(["cpu", "cuda"]), default=None,
        help="Device that runs the engine  [default: cuda for plans, else cpu]. If the engine cannot run there, the command "
        "stops with an error; there is no fallback.",
    )(command)  # fmt: skip


def plan_options(command: _Command) -> _Command:
    """Options for running plans: `--device`, `--kernels`, `--runtime-cache`, `--cuda-graphs`."""
    options = (
        click.option("--device", type=click.IntRange(0, 1023), default=0, show_default=True, metavar="N",
                     help="Plans: number of the CUDA device, as `skinaudit doctor` lists them."),
        click.option("--kernels", type=click.Choice(["eager", "none"]), default="eager", show_default=True,
                     help="TensorRT-RTX plans: eager compiles kernels for each batch size first, none uses general ones."),
        click.option("--runtime-cache", type=click.Path(path_type=Path), default=None, metavar="FILE",
                     help="TensorRT-RTX plans: FILE that stores compiled kernels, to reuse them later."),
        click.option("--cuda-graphs", is_flag=True, help="Plans: run them through CUDA graphs."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def allow_code_option(command: _Command) -> _Command:
    """`--allow-code`, shared by every command that opens an engine from elsewhere."""
    return click.option(
        "--allow-code", is_flag=True,
        help="Also open engines that contain program code: compiled packages (.aoti.pt2) and version-compatible plans. The "
        "code runs with your rights as soon as the file is opened, so use this only for files that you trust. Exported "
        "programs (.pt2) need it on machines that cannot confine their process; see `skinaudit doctor`.",
    )(command)  # fmt: skip


def limit_options(command: _Command) -> _Command:
    """`--limit-seconds`, `--limit-memory`: of the process in which an engine is opened; in seconds and GiB."""
    options = (
        click.option("--limit-seconds", type=click.FloatRange(0, 10_000_000, min_open=True), default=None, metavar="SECONDS",
                     help="Time limit for opening an engine, and for each batch  [default: 300, more for large files]."),
        click.option("--limit-memory", type=click.FloatRange(0, 1_000_000, min_open=True), default=None, metavar="GIB",
                     help="Memory limit for an engine, in GiB  [default: 4 plus 20 times its file size, at most 90% of the "
                     "machine's memory]."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def json_option(command: _Command) -> _Command:
    """`--json`, shared by every command that prints a table."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")(command)


def report_option(kind: reports.Kind) -> Callable[[_Command], _Command]:
    """`--report`, shared by every command that shows audits."""
    return click.option(
        "--report", "report_texts", multiple=True, metavar="FORMAT=FILE", shell_complete=report_formats,
        help=f"Write a report to FILE (- is standard output); can be repeated. Formats: {', '.join(reports.names(kind))}.",
    )  # fmt: skip
