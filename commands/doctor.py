"""`skinaudit doctor`: what this machine can build and run."""

from __future__ import annotations

import click

from skinaudit.commands.screen import console
from skinaudit.commands.shared_options import json_option


@click.command(short_help="Say which runtimes are here.")
@json_option
def doctor(as_json: bool) -> None:
    """Say which runtimes are here, in which version, on which devices, and what each can build and run.

    \b
    Example:
      skinaudit doctor
    """
    import json
    from dataclasses import asdict

    from skinaudit.audit.reports.parts.doctor_table import print_doctor
    from skinaudit.engines.doctor import examine

    reports = examine()
    if as_json:
        click.echo(json.dumps([asdict(report) for report in reports], indent=2))
    else:
        print_doctor(reports, console())
