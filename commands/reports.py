"""`skinaudit report`, `compare` and `transfer`: show audits in other formats, compare audits, compare runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from skinaudit.audit import reports
from skinaudit.commands.grouped_help import GroupedCommand
from skinaudit.commands.library.arguments import thread_count
from skinaudit.commands.screen import bars, console, note
from skinaudit.commands.shared_options import json_option, provider_option, report_option, threads_option
from skinaudit.errors import InvalidInputError

_OUTPUT = {"Output": ("--report", "--json")}
_TRANSFER = {"What to compare": ("--attack", "--engine"), "How it runs": ("--provider", "--threads"), "Output": ("--json",)}
"""Sections of the help, with their options."""


@click.command(cls=GroupedCommand, sections=_OUTPUT, short_help="Show a finished audit in other formats.")
@click.argument("audit", type=click.Path(path_type=Path))
@json_option
@report_option("audit")
def report(audit: Path, as_json: bool, report_texts: tuple[str, ...]) -> None:
    """Show a finished audit in other formats, from its JSON report AUDIT. The engine is not needed.

    Without --report it prints the tables. Exit codes: 0 if every report was written, whatever the verdict; 2 if AUDIT is
    not a report that this version can read.

    \b
    Examples:
      skinaudit report runs/latest/audits/fp16.onnx.json
      skinaudit report audit.json --report html=audit.html --report markdown=-
    """
    from skinaudit.audit.judgement.reading import read_audit
    from skinaudit.audit.reports.parts.targets import parse_targets, write_targets
    from skinaudit.audit.reports.terminal import print_audit

    targets = parse_targets((*report_texts, "json=-") if as_json else report_texts, occupied=(audit,))
    result = read_audit(audit)
    _say_unproved(audit, result.by_image)
    printed = write_targets(targets, result)
    if printed is not None:
        click.echo(printed, nl=False)
    elif not targets:
        print_audit(result, console())


@click.command(cls=GroupedCommand, sections=_OUTPUT, short_help="Compare finished audits in one table.")
@click.argument("audits", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@report_option("lineup")
def compare(audits: tuple[Path, ...], as_json: bool, report_texts: tuple[str, ...]) -> None:
    """Compare the JSON reports AUDITS in one table, in the given order. Use it for engines or for releases.

    Figures on images that differ from those of the first report are marked. Exit codes: 0 whatever the verdicts; 2 if a
    file is not a report that this version can read.

    \b
    Examples:
      skinaudit compare runs/latest/audits/*.json
      skinaudit compare release-1.json release-2.json --report markdown=-
    """
    from skinaudit.audit.judgement.reading import read_audit
    from skinaudit.audit.reports.lineup.terminal import print_lineup
    from skinaudit.audit.reports.parts.lineup import line_up
    from skinaudit.audit.reports.parts.targets import parse_targets, write_targets

    targets = parse_targets(report_texts, occupied=audits, kind="lineup")
    if as_json and any(target.path is None for target in targets):
        raise InvalidInputError("--json: a --report is already written to standard output; leave one of them out")
    results = [(path, read_audit(path)) for path in audits]
    for path, result in results:
        _say_unproved(path, result.by_image)
    lineup = line_up(results)
    printed = write_targets(targets, lineup, "lineup")
    if as_json:
        click.echo(reports.render("json", lineup, "lineup"), nl=False)
    elif printed is not None:
        click.echo(printed, nl=False)
    elif not targets:
        print_lineup(lineup, console())


def _say_unproved(audit: Path, by_image: bool) -> None:
    """Say on stderr that the figures of a report cannot be verified."""
    if not by_image:
        text = "an earlier version wrote this report without predictions per image, so its figures are not proved; "
        text += "audit the engine again"
        note(f"{audit}: {text}")


@click.command(cls=GroupedCommand, sections=_TRANSFER, short_help="Print how attacks transfer between runs.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--attack",
    "attack_name",
    default=None,
    metavar="NAME",
    help="Name of the sets to use  [default: pgd-dlr; pgd if a run lacks it].",
)
@click.option("--engine", "engines", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Test this engine as well; it has been exported by skinaudit. Can be repeated.")  # fmt: skip
@json_option
@provider_option
@threads_option
def transfer(
    runs: tuple[Path, ...],
    engines: tuple[Path, ...],
    attack_name: str | None,
    as_json: bool,
    provider: Any,
    threads: int | None,
) -> None:
    """Print the transfer matrix: the accuracy of every RUN's fp32 engine on the adversarial sets of every RUN.

    With --engine, further engines are tested on these sets, such as a deployed file on those of a surrogate model.

    \b
    Examples:
      skinaudit transfer runs/standard runs/hardened
      skinaudit transfer runs/surrogate --engine runs/hardened/engines/int8.onnx
    """
    import json

    from skinaudit.audit.reports.json_ import to_json
    from skinaudit.audit.reports.parts.transfer_table import print_transfer
    from skinaudit.audit.transfer import transfer_matrix

    with bars() as bar:
        matrix = transfer_matrix(
            runs,
            engines=engines,
            attack=attack_name,
            provider=provider,
            threads=thread_count(threads),
            progress=bar("replaying"),
        )
    if as_json:
        click.echo(json.dumps(to_json(matrix), indent=2))
    else:
        print_transfer(matrix, console())
