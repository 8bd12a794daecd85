"""`skinaudit defences`: the value of input transformations, under attacks that know them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skinaudit.commands.library import defending
from skinaudit.commands.library.run_folders import LATEST
from skinaudit.commands.names import defence_names, listed
from skinaudit.commands.screen import bars, note, say, say_table
from skinaudit.commands.shared_options import json_option, provider_option, seed_option, threads_option
from skinaudit.errors import counted

if TYPE_CHECKING:
    from skinaudit.commands.library.defending import DefenceTable


@click.command(short_help="Measure defences that transform the input.")
@click.argument("run", type=click.Path(path_type=Path), default=LATEST)
@click.option("--defence", multiple=True, metavar="NAME[:KEY=VALUE,...]",
              help=f"{listed(defence_names())}, with its own settings; can be repeated  [default: all].")  # fmt: skip
@click.option("--attack", default="pgd", show_default=True, metavar="NAME[:KEY=VALUE,...]",
              help="Attack, as for `skinaudit attack`.")  # fmt: skip
@click.option("--eps", default=None, help="Eps as a fraction of 255  [default: that of the run's sets].")
@click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True,
              help="Norm in which --eps limits the change of an image.")  # fmt: skip
@click.option("--engine", type=click.Path(path_type=Path), default=None, metavar="FILE",
              help="Engine of RUN that answers  [default: the model of RUN].")  # fmt: skip
@click.option("--images", type=click.IntRange(1), default=200, show_default=True, help="Number of test images.")
@click.option("--draws", type=click.IntRange(1, 100_000), default=10, show_default=True,
              help="Random defences: transformed copies of each image. Their mean answers, and the attack follows the mean "
              "gradient.")  # fmt: skip
@seed_option("Seed of all random draws of the attacks.")
@provider_option
@threads_option
@json_option
def defences(run: Path, as_json: bool, **options: Any) -> None:
    """Compare defences that transform the input of a run's model or engine.

    naive: accuracy on images that were attacked without the defence. adaptive: on images that were attacked through it, with
    straight-through gradients (BPDA) and the mean over several draws (EOT). robust: correct under both. Only the last says
    what a defence is worth.

    \b
    Examples:
      skinaudit defences runs/standard --images 100
      skinaudit defences runs/hardened --defence jpeg:quality=50 --attack pgd
      skinaudit defences runs/hardened --engine engines/int8-u8s8.onnx
    """
    import json

    with bars() as bar:
        table = defending.defences(run, progress=bar, remark=note, **options)
    if as_json:
        click.echo(json.dumps(asdict(table), indent=2))
        return
    _print(table)


def _print(table: DefenceTable) -> None:
    if table.synthetic:
        say("SYNTHETIC images: these figures say nothing about patients")
    counts = f"{counted(table.images, 'image')}, {counted(table.draws, 'draw')}"
    say(f"{table.attack}   answered by {table.answered_by}   {counts}")
    head = ("defence", "clean", "naive", "adaptive", "robust", "95% interval")
    rows = [
        (row.defence, *(f"{share:.1%}" for share in (row.clean, row.naive, row.adaptive, row.robust)),
         f"[{row.interval.low:.1%}, {row.interval.high:.1%}]")
        for row in table.rows
    ]  # fmt: skip
    say_table([head, *rows])
    for row in table.rows:
        if row.broken_attack:
            say(
                f"WARNING: {row.defence}: the attack through the defence left more images than the one that ignored it, so "
                "it may have failed; try another attack, more steps or more --draws"
            )
