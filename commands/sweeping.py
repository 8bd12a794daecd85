"""`skinaudit sweep`: robust accuracy against eps and steps, and signs of a broken attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skinaudit.commands.library import sweeping
from skinaudit.commands.library.run_folders import LATEST
from skinaudit.commands.names import attack_names, listed
from skinaudit.commands.screen import bars, note, say, say_table
from skinaudit.commands.shared_options import json_option, seed_option, threads_option
from skinaudit.errors import counted

if TYPE_CHECKING:
    from skinaudit.commands.library.sweeping import SweepRow, SweepTable


@click.command(short_help="Draw robust accuracy against eps and steps.")
@click.argument("run", type=click.Path(path_type=Path), default=LATEST)
@click.option("--attack", multiple=True, metavar="NAME[:KEY=VALUE,...]",
              help=f"{listed(attack_names())}, with its own settings; can be repeated  "
              f"[default: {', '.join(sweeping.ATTACKS)}].")  # fmt: skip
@click.option("--eps", multiple=True, metavar="EPS",
              help="Radius as a fraction of 255; can be repeated  "
              "[default: 1/255 to 32/255; l2: 32/255 to 1024/255].")  # fmt: skip
@click.option("--steps", multiple=True, type=click.IntRange(1, 1_000_000),
              help=f"Number of steps; can be repeated  [default: {', '.join(map(str, sweeping.STEPS))}].")  # fmt: skip
@click.option("--at", default=None, metavar="EPS",
              help="Eps of the curves by steps  [default: that of the run's sets, or the middle one of --eps].")  # fmt: skip
@click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True,
              help="Norm in which eps limits the change of an image.")  # fmt: skip
@click.option("--images", type=click.IntRange(1), default=200, show_default=True, help="Number of test images.")
@click.option("--picture", type=click.Path(path_type=Path), default=None, metavar="FILE",
              help="PNG file to write  [default: sweep.png in the folder of RUN].")  # fmt: skip
@seed_option("Seed of all random draws of the attacks.")
@threads_option
@json_option
def sweep(run: Path, as_json: bool, picture: Path | None, **options: Any) -> None:
    """Measure attacks with growing eps and growing steps, and draw the robust accuracy of a run's model.

    A robust accuracy is an upper bound: a weak attack gives a high one. Signs of a broken attack are named, and ringed in
    the picture: accuracy that rises with eps or steps, that stays flat, that is above 0 at a huge eps, that still falls at
    the last step, or that is higher than under an attack without gradients.

    \b
    Examples:
      skinaudit sweep runs/hardened
      skinaudit sweep runs/hardened --attack apgd-t --eps 4/255 --eps 8/255
      skinaudit sweep runs/standard --norm l2 --images 100 --json
    """
    import json

    from skinaudit.artifacts.run_folder import RunFolder

    with bars() as bar:
        table = sweeping.sweep(run, picture=picture, progress=bar, remark=note, **options)
    if as_json:
        click.echo(json.dumps(asdict(table), indent=2))
        return
    _print(table)
    say(f"picture: {RunFolder(run).sweep if picture is None else picture}")


def _print(table: SweepTable) -> None:
    if table.synthetic:
        say("SYNTHETIC images: these figures say nothing about patients")
    say(f"{counted(table.images, 'image')}, {table.clean:.1%} correct without an attack; robust accuracy with growing eps:")
    say_table(_columns(table.by_eps, [f"{row.norm} {row.eps}" for row in table.by_eps]))
    if table.by_steps:
        say(f"with growing steps, at {table.at}:")
        say_table(_columns(table.by_steps, [counted(row.steps or 0, "step") for row in table.by_steps]))
    for sign in table.signs:
        say(f"WARNING: {sign.attack}: {sign.kind}: {sign.text}")


def _columns(rows: Sequence[SweepRow], heads: Sequence[str]) -> list[tuple[str, ...]]:
    """One row per attack, one column per budget."""
    columns = tuple(dict.fromkeys(heads))
    shares = {(row.attack, head): f"{row.accuracy:.1%}" for row, head in zip(rows, heads, strict=True)}
    names = dict.fromkeys(row.attack for row in rows)
    return [("attack", *columns), *((name, *(shares[name, head] for head in columns)) for name in names)]
