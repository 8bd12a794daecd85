"""The command line: assembles the commands of commands/ and turns every way to end into a line and an exit code."""

from __future__ import annotations

import atexit
import gc
import os
import sys

import click

from skinaudit import __version__
from skinaudit.commands import auditing, completion, demo, doctor, drafts, exporting, publishing, reports, training
from skinaudit.commands.screen import stop
from skinaudit.errors import SkinauditError


def main() -> None:
    """Entry point: run a command and turn expected failures into one line and exit code 2, an interrupt into 130."""
    atexit.register(gc.freeze)  # or Python searches all that was loaded for garbage as it ends, up to 0.15 s
    try:
        commands.main(prog_name="skinaudit", standalone_mode=False)
    except SkinauditError as error:
        stop(str(error), code=2)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.UsageError as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        stop("interrupted; nothing half-written was left (an interrupted training goes on with --resume)", code=130)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (the reader is gone; the exit must not write again)
        sys.exit(141)
    except OSError as error:
        stop(f"{error.filename or 'file'}: {error.strerror or error}; check the path, rights and free space", code=2)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="skinaudit")
def commands() -> None:
    """Train skin-lesion classifiers, export them, and prove that the exported file is as robust as the trained model.

    In an empty folder, one after the other, on embedded synthetic images:

    \b
      skinaudit train --hardening pgd
      skinaudit export --fp16
      skinaudit audit runs/latest/engines/fp16.onnx

    Exit codes: 0 pass, 1 fail, 2 usage or unreadable input, 3 inconclusive.
    """


for _command in (
    training.train, training.attack, exporting.export, auditing.audit, reports.report, reports.compare, reports.transfer,
    drafts.policy, drafts.contract, publishing.card, publishing.track, demo.demo, doctor.doctor, completion.completion,
):  # fmt: skip
    commands.add_command(_command)


if __name__ == "__main__":
    main()
