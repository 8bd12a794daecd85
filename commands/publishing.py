"""`skinaudit card`, `bom` and `track`: publish a run and its audits as a model card, a bill of materials, or in MLflow."""

from __future__ import annotations

from pathlib import Path

import click

from skinaudit.commands.grouped_help import GroupedCommand
from skinaudit.commands.library.run_folders import LATEST, check_latest
from skinaudit.commands.screen import note, say
from skinaudit.errors import InvalidInputError

_CARD = {"What the card says": ("--license", "--dataset", "--audits"), "Output": ("--output", "--force")}
_BILL = {"What the bill says": ("--license",), "Output": ("--output", "--force")}
_STORE = {"Where to log": ("--tracking-uri", "--experiment")}
"""Sections of the help, with their options."""


@click.command(cls=GroupedCommand, sections=_CARD, short_help="Write the model card of a run.")
@click.argument("run", type=click.Path(path_type=Path), default=LATEST)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None, help="File of the card  [default: print it].")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--license", "licence", default=None, metavar="ID",
              help="Licence identifier of the Hugging Face Hub, such as cc-by-nc-4.0  [default: a comment asks for "
              "it].")  # fmt: skip
@click.option(
    "--dataset", default=None, metavar="ID", help="Data set identifier of the Hub  [default: from the title of the data]."
)
@click.option("--audits", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="Folder with JSON reports of the run's engines  [default: the run's audits folder].")  # fmt: skip
def card(
    run: Path, output: Path | None, force: bool, licence: str | None, dataset: str | None, audits: Path | None
) -> None:  # fmt: skip
    """Write the model card of RUN: use and limits, data, training, accuracy and robustness, and audits of its engines.

    The card is Markdown with the metadata block of the Hugging Face Hub. Card and stderr list what is left out and why.

    \b
    Example:
      skinaudit card runs/hardened --license cc-by-nc-4.0 -o README.md
    """
    from skinaudit.artifacts.files import write_bytes
    from skinaudit.publish.card.model_card import model_card
    from skinaudit.publish.run_record import read_run_record

    if output is not None and output.exists() and not force:
        raise InvalidInputError(f"{output}: exists already; choose another --output or add --force")
    check_latest(run, remark=note)
    record = read_run_record(run, audits=audits)
    text = model_card(record, licence=licence, dataset=dataset)
    for name, reason in record.left_out.items():
        note(f"left out: {name}: {reason}")
    if output is None:
        click.echo(text, nl=False)
    else:
        write_bytes(output, text.encode())
        say(f"{output}: {len(record.sets)} sets, {len(record.audits)} audits, {len(record.left_out)} left out")


@click.command(cls=GroupedCommand, sections=_BILL, short_help="Write a bill of materials (CycloneDX).")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None, help="File of the bill  [default: print it].")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--license", "licence", default=None, metavar="ID", help="Licence of the model, such as CC-BY-NC-4.0.")
def bom(run: Path | None, output: Path | None, force: bool, licence: str | None) -> None:
    """Write the bill of materials of a RUN, or of the installed package: CycloneDX 1.6 as JSON.

    The bill of a run lists the model with its figures, the data, the sets, the engines, and the versions that made them.
    Each has its digest. Without RUN the bill lists the packages that skinaudit uses and that are installed, with their
    licences.

    \b
    Examples:
      skinaudit bom runs/hardened -o bom.json
      skinaudit bom > package.json
    """
    from skinaudit.artifacts.files import write_bytes
    from skinaudit.publish.bill import bill_text, package_bill, run_bill

    if output is not None and output.exists() and not force:
        raise InvalidInputError(f"{output}: exists already; choose another --output or add --force")
    if run is None and licence is not None:
        raise InvalidInputError("--license needs RUN: it is the licence of the model of a run")
    bill, left_out = (package_bill(), {}) if run is None else run_bill(run, licence=licence)
    for name, reason in left_out.items():
        note(f"left out: {name}: {reason}")
    if output is None:
        click.echo(bill_text(bill), nl=False)
    else:
        write_bytes(output, bill_text(bill).encode())
        say(f"{output}: {len(bill['components'])} components, {len(left_out)} left out")


@click.command(cls=GroupedCommand, sections=_STORE, short_help="Log runs and audits to MLflow.")
@click.argument("paths", nargs=-1, required=True, metavar="RUN|AUDIT.json ...", type=click.Path(path_type=Path))
@click.option("--tracking-uri", default=None, metavar="URI",
              help="Address of the MLflow store  [default: $MLFLOW_TRACKING_URI, else MLflow's own default].")  # fmt: skip
@click.option(
    "--experiment",
    default="skinaudit",
    show_default=True,
    metavar="NAME",
    help="Name of the experiment; created if it does not exist.",
)
def track(paths: tuple[Path, ...], tracking_uri: str | None, experiment: str) -> None:
    """Log runs and JSON reports of audits to MLflow.

    This logs settings, epochs, figures, verdicts and reports, but no images and no weights. An audit is nested under the
    run with its weights. Entries that already exist are not logged again. Exit codes: 0 if everything is logged, whatever
    the verdicts; 2 if a file or the store cannot be used.

    \b
    Examples:
      skinaudit track runs/hardened runs/hardened/audits/*.json
      skinaudit track audit.json --tracking-uri https://mlflow.example.org
    """
    from skinaudit.publish.run_record import read_filed_audit, read_run_record
    from skinaudit.publish.tracking.entries import audit_entry, run_entry
    from skinaudit.publish.tracking.to_mlflow import log_entries

    entries = [
        run_entry(read_run_record(path)) if path.is_dir() else audit_entry(read_filed_audit(path)) for path in paths
    ]  # fmt: skip
    where, logged = log_entries(entries, uri=tracking_uri, experiment=experiment)
    for logged_entry in logged:
        under = "" if logged_entry.parent is None else f", under {logged_entry.parent}"
        say(f"{logged_entry.state:<10} {logged_entry.entry.kind:<6} {logged_entry.entry.name}  {logged_entry.run_id}{under}")
        for name, reason in logged_entry.entry.left_out.items():
            note(f"left out: {logged_entry.entry.name}: {name}: {reason}")
    say(f"store: {where}  experiment: {experiment}")
