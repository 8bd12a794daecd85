"""The command line: assembles the commands of commands/. Every error becomes one line and an exit code."""

from __future__ import annotations

import atexit
import gc
import io
import os
from functools import wraps
from typing import Any, NoReturn

import click

from skinaudit import __version__
from skinaudit.commands import (
    auditing,
    completion,
    defending,
    demo,
    doctor,
    drafts,
    endings,
    environment,
    exporting,
    loudness,
    paper,
    publishing,
    reports,
    sweeping,
    training,
)
from skinaudit.commands.grouped_help import GroupedProgram, name_values
from skinaudit.commands.screen import note
from skinaudit.errors import DEBUG


def main() -> NoReturn:
    """Run the command line that the program was started with, and exit."""
    endings.run(invoke)


def invoke() -> int:
    """Parse the program's arguments and run the command; returns its exit code. Usage errors are printed here."""
    atexit.register(gc.freeze)  # otherwise Python searches everything for garbage when it exits, up to 0.15 s
    try:
        with loudness.libraries_held_back():
            return commands.main(prog_name="skinaudit", standalone_mode=False) or 0
    except SystemExit as error:
        if error.code == 0 and _COMPLETING in os.environ:  # click ends so; of a library it would read as PASS
            return 0
        raise
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return error.exit_code
    except click.UsageError as error:
        usage = io.StringIO()
        error.show(usage)
        note(usage.getvalue().removesuffix("\n"))
        return error.exit_code
    except click.Abort as error:
        raise (error.__context__ if isinstance(error.__context__, KeyboardInterrupt) else KeyboardInterrupt()) from error


def _ask_for_tracebacks(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        os.environ[DEBUG] = "1"


def _debug_option(*, hidden: bool) -> click.Option:
    """`--debug` of the program. Each command has it too, but hidden, because people add it at the end of the line."""
    return click.Option(
        ["--debug"], is_flag=True, is_eager=True, expose_value=False, callback=_ask_for_tracebacks, hidden=hidden,
        help=f"Show the traceback of an error. Same as {DEBUG}=1.",
    )  # fmt: skip


def _take_from_environment(command: click.Command) -> None:
    """Let the command read its allowed options from the environment, and refuse variables for others when it starts."""
    environment.restrict(command)
    run = command.callback
    assert run is not None

    @wraps(run)
    def checked(*positional: Any, **named: Any) -> Any:
        environment.check(command)
        return run(*positional, **named)

    command.callback = checked


_COMPLETING = "_SKINAUDIT_COMPLETE"
"""Set by a shell that asks for completions; click derives it from the program's name."""
_SETTINGS = {
    "help_option_names": ["-h", "--help"], "max_content_width": 100, "auto_envvar_prefix": environment.PREFIX
}  # fmt: skip


_SECTIONS = {
    "From images to a verdict": ("train", "attack", "export", "audit"),
    "Files that you write for an audit": ("policy", "contract"),
    "Show and publish results": ("report", "compare", "card", "bom", "track"),
    "Studies": ("demo", "transfer", "sweep", "defences", "paper"),
    "This machine": ("doctor", "completion"),
}


@click.group(cls=GroupedProgram, sections=_SECTIONS, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="skinaudit")
def commands() -> None:
    """Train skin-lesion classifiers, export them, and check that the exported file is as robust as the trained model.

    To try it, run these commands one after the other in an empty folder. They use embedded synthetic images:

    \b
      skinaudit train --hardening pgd
      skinaudit export --fp16
      skinaudit audit runs/latest/engines/fp16.onnx

    Exit codes: 0 PASS, 1 FAIL, 2 usage error, unreadable input or any other error, 3 INCONCLUSIVE.
    """


for _command in (
    training.train, training.attack, exporting.export, auditing.audit, reports.report, reports.compare, reports.transfer,
    defending.defences, sweeping.sweep,
    drafts.policy, drafts.contract, publishing.card, publishing.bom, publishing.track, demo.demo, paper.paper,
    doctor.doctor,
    completion.completion,
):  # fmt: skip
    name_values(_command)
    _command.params += [*loudness.options(hidden=True), _debug_option(hidden=True)]
    _take_from_environment(_command)
    commands.add_command(_command)
commands.params += [*loudness.options(hidden=False), _debug_option(hidden=False)]
environment.restrict(commands)


if __name__ == "__main__":
    main()
