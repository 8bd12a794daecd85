"""`skinaudit demo`: all steps on synthetic images."""

from __future__ import annotations

from pathlib import Path

import click

from skinaudit.commands.library.arguments import thread_count
from skinaudit.commands.library.optional import TRAINING, need
from skinaudit.commands.library.run_folders import RUNS
from skinaudit.commands.screen import bars, console, reporter
from skinaudit.commands.shared_options import json_option, seed_option, threads_option


@click.command(short_help="Run all steps on synthetic images.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RUNS / "demo",
    show_default=True,
    help="Folder for the runs of the demo.",
)
@seed_option("Seed of all random draws.")
@json_option
@threads_option
def demo(out: Path, seed: int, as_json: bool, threads: int | None) -> None:
    """Train, harden, attack, export and audit on embedded synthetic images. This takes minutes on a CPU.

    \b
    Example:
      skinaudit demo --out runs/demo
    """
    import json

    need("demo", *TRAINING, "onnxscript", "onnxruntime")
    from skinaudit.audit.reports.json_ import to_json
    from skinaudit.commands.demo_run import run_demo

    with bars() as bar:
        audits = run_demo(
            out, seed=seed, threads=thread_count(threads), console=console(stderr=as_json), report=reporter(bar)
        )
    if as_json:
        click.echo(json.dumps([to_json(result) for result in audits], indent=2))
