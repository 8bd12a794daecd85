"""`skinaudit paper`: repeats the study of Huq and Pervin (2020), from one configuration to one page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skinaudit.commands.grouped_help import GroupedCommand
from skinaudit.commands.library.arguments import thread_count
from skinaudit.commands.library.optional import TRAINING, need
from skinaudit.commands.library.run_folders import RUNS
from skinaudit.commands.screen import bars, note, reporter, say
from skinaudit.commands.shared_options import MAX_THREADS, threads_option
from skinaudit.errors import InvalidInputError

if TYPE_CHECKING:
    from skinaudit.artifacts.study_folder import StageRecord
    from skinaudit.trainer.study.settings import StudySettings
    from skinaudit.trainer.study.work import Workplace

_SECTIONS = {
    "Study": ("--scale", "--config", "--show", "--data", "--only"),
    "Changes to the scale": ("--eps", "--epochs", "--batch", "--weights", "--precision", "--seeds"),
    "Run": ("--out", "--minutes", "--jobs", "--threads"),
}
"""Sections of the help of `paper`, with their options."""


@click.command(cls=GroupedCommand, sections=_SECTIONS, short_help="Repeat the study that skinaudit starts from.")
@click.option("--scale", type=click.Choice(["full", "gpu", "gpu-64", "cpu", "tiny"]), default="cpu", show_default=True,
              help="full: 224x224, the paper's networks and recipe, for a GPU. gpu: the same size in minutes. gpu-64: "
              "64x64, minutes on a GPU. cpu: 64x64, hours on two cores. tiny: seconds, to try the command.")  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path), default=None, metavar="FILE.toml",
              help="Settings instead of those of a scale.")  # fmt: skip
@click.option("--show", is_flag=True, help="Print the settings as TOML and the stages in their order, and stop.")
@click.option("--data", default=None, metavar="DIR|FILE|synthetic",
              help="Images, as for `skinaudit train`  [default: synthetic, with --scale tiny alone].")  # fmt: skip
@click.option("--only", multiple=True, metavar="NAME",
              help="Only stages with this architecture, recipe-RECIPE, split-SPLIT or kind (train, answer, autoattack). Can "
              "be repeated.")  # fmt: skip
@click.option("--eps", default=None, help="Eps of hardening and of the sets, as a fraction of 255.")
@click.option("--epochs", type=click.IntRange(1), default=None, help="Epochs of every training.")
@click.option("--batch", type=click.IntRange(2), default=None, help="Batch size of every training.")
@click.option("--weights", multiple=True, metavar="ARCH=FILE|NAME",
              help="Weights that an architecture starts from. Can be repeated.")  # fmt: skip
@click.option("--precision", type=click.Choice(["usual", "fp32", "tf32", "bf16", "bf16-attack"]), default=None,
              help="Precision of the training steps, as for `skinaudit train`; usual is its default.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), default=None, help="Number of seeds, from 0 on.")
@click.option("--out", type=click.Path(path_type=Path), default=None,
              help="Folder of the study  [default: runs/paper-SCALE].")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=None,
              help="Begin no further stage after this time.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1, MAX_THREADS), default=1, show_default=True,
              help="Stages to run at the same time, each in its process. They share the CPU threads.")  # fmt: skip
@threads_option
def paper(show: bool, data: str | None, out: Path | None, **options: Any) -> None:
    """Train, harden and attack the networks of Huq & Pervin (2020), and write the paper's tables beside its figures.

    Writes paper.md, paper.json and a plot into the folder of the study, anew after each stage. An interrupted study goes
    on where it was: repeat the command. What is finished is not done again.

    \b
    Examples:
      skinaudit paper --scale tiny
      skinaudit paper --scale cpu --data HAM10000/ --only mobilenet --minutes 60
      skinaudit paper --scale full --data HAM10000/ --seeds 3 --jobs 4
    """
    need("paper", *TRAINING)
    from skinaudit.trainer.study.settings import to_toml
    from skinaudit.trainer.study.stages import stages
    from skinaudit.trainer.study.work import Workplace

    settings = _settings(options)
    wanted = stages(settings, options["only"])
    if show:
        say(to_toml(settings) + "\n" + "\n".join(f"# {stage.name}" for stage in wanted))
        return
    if data is None and settings.scale != "tiny":
        raise InvalidInputError("--data: name the folder of HAM10000, or `synthetic`")
    if data not in (None, "synthetic") and settings.images:
        raise InvalidInputError(f"--data {data}: the scale {settings.scale} has synthetic images; use another --scale")
    threads = max(1, thread_count(options["threads"]) // options["jobs"])
    place = Workplace(out or RUNS / f"paper-{settings.scale}", data or "synthetic", settings, threads)
    stages_left = _run(place, wanted, options)
    say(f"page: {place.folder.page}")
    if stages_left:
        note(f"{len(stages_left)} stages are left; repeat the command to go on")


def _settings(options: dict[str, Any]) -> StudySettings:
    from skinaudit.trainer.study.settings import SCALES, changed, read_settings

    chosen = SCALES[options["scale"]] if options["config"] is None else read_settings(options["config"])
    weights = dict(_pair(text) for text in options["weights"])
    return changed(
        chosen, eps=options["eps"], seeds=options["seeds"], epochs=options["epochs"], batch=options["batch"],
        weights=weights, precision=options["precision"],
    )  # fmt: skip


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise InvalidInputError(f"--weights {text}: write ARCH=FILE, for example mobilenet=weights.pth")
    return name, value


def _run(place: Workplace, wanted: Sequence[Any], options: dict[str, Any]) -> Sequence[Any]:
    """Run the stages, and write the page after each of them."""
    from skinaudit.trainer.study.schedule import run_study

    with bars() as bar:
        report = reporter(bar)

        def ended(record: StageRecord) -> None:
            report.say(f"{record.stage}: {record.state} in {record.seconds:,.1f} s" + f" {record.remark}".rstrip())
            _write_page(place, wanted)

        stages_left = run_study(
            place, wanted, jobs=options["jobs"], minutes=options["minutes"], report=report, ended=ended
        )  # fmt: skip
    _write_page(place, wanted)
    return stages_left


def _write_page(place: Workplace, wanted: Sequence[Any]) -> None:
    """Write page, JSON and plot from the present results; nothing before the first model is trained."""
    import sys

    from skinaudit.artifacts.files import write_bytes, write_json
    from skinaudit.audit.reports.page.study_plot import draw_study
    from skinaudit.audit.reports.parts.study_page import render
    from skinaudit.audit.study import read_study, to_json
    from skinaudit.trainer.study.schedule import remaining
    from skinaudit.trainer.study.settings import to_toml
    from skinaudit.trainer.study.stages import is_trained

    folder = place.folder
    if not any(is_trained(folder, stage.model) for stage in wanted):
        return
    study = read_study(folder.path)
    stages_left = [stage.name for stage in remaining(place, wanted)]
    plot = folder.plot.name if draw_study(study, folder.plot) else None
    command = shlex.join(("skinaudit", *sys.argv[1:]))
    page = render(study, command=command, remaining=stages_left, settings=to_toml(place.settings), plot=plot)
    write_bytes(folder.page, page.encode())
    write_json(folder.figures, {**to_json(study), "command": command, "left": stages_left})
