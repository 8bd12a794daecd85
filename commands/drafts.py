"""`skinaudit policy` and `skinaudit contract`: the two files that a person writes for an audit, as drafts."""

from __future__ import annotations

from pathlib import Path

import click

from skinaudit.commands.shared_options import limit_options, limits_of
from skinaudit.errors import InvalidInputError


@click.command(short_help="Print the default policy file.")
def policy() -> None:
    """Print a policy file that says what `skinaudit audit` does without one, with a comment to every bound.

    \b
    Example:
      skinaudit policy > policy.toml
    """
    from skinaudit.audit.judgement.policy import DEFAULT_TEXT

    click.echo(DEFAULT_TEXT, nl=False)


@click.command(short_help="Draft the contract of a foreign engine.")
@click.argument("engine", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None, help="Write it there  [default: print it].")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@limit_options
def contract(
    engine: Path, output: Path | None, force: bool, limit_seconds: float | None, limit_memory: float | None
) -> None:
    """Draft the contract of an ENGINE that skinaudit did not build, from what the file says of itself.

    What the file cannot prove is marked CHECK: a person has to.

    \b
    Example:
      skinaudit contract other.tflite -o other.toml
    """
    from skinaudit.artifacts.engine_contract import write_toml
    from skinaudit.artifacts.files import write_bytes
    from skinaudit.engines.draft import draft_contract
    from skinaudit.engines.isolation.launching import engine_processes

    if output is not None and output.exists() and not force:
        raise InvalidInputError(f"{output}: exists already; choose another --output or add --force")
    with engine_processes(limits_of(limit_seconds, limit_memory)):
        drafted, notes = draft_contract(engine)
    text = write_toml(drafted, notes=notes)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_bytes(output, text.encode())
        click.echo(f"{output}: {len(notes)} entries to check")
