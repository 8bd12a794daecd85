"""`skinaudit doctor`: show what this machine can build and run."""

from __future__ import annotations

import click

from skinaudit.commands import environment
from skinaudit.commands.screen import console, say
from skinaudit.commands.shared_options import json_option


@click.command(short_help="Show which runtimes are installed.")
@json_option
def doctor(as_json: bool) -> None:
    """Show the installed runtimes, their versions and devices, and what each can build and run.

    Variables of the environment that set options of commands are listed below the table, without their values.

    \b
    Example:
      skinaudit doctor
    """
    import json
    from dataclasses import asdict

    from skinaudit.audit.reports.parts.doctor_table import print_doctor
    from skinaudit.engines.doctor import examine

    reports = examine()
    program = click.get_current_context().find_root().command
    commands = program.commands if isinstance(program, click.Group) else {}
    variables = [variable for command in commands.values() for variable in environment.variables(command)]
    unknown = environment.unknown(commands)
    if as_json:
        entries = [*map(asdict, reports), *map(asdict, variables), *({"name": name, "command": None} for name in unknown)]
        click.echo(json.dumps(entries, indent=2))
    else:
        print_doctor(reports, console())
        for variable in variables:  # never its value, which may be a secret
            use = f"sets {variable.flag}" if variable.accepted else f"may not set {variable.flag}"
            say(f"{variable.name}: {use if variable.flag else 'names no option'} of skinaudit {variable.command}")
        for name in unknown:
            say(f"{name}: names no command of skinaudit and no setting of the machine")
