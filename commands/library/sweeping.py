"""The measurements of `skinaudit sweep`: robust accuracy against eps and steps, and signs of a broken attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from skinaudit.commands.library.arguments import log_progress, thread_count
from skinaudit.commands.library.broken_attacks import Sign, signs_of
from skinaudit.commands.library.optional import need
from skinaudit.commands.library.run_folders import LATEST, check_latest
from skinaudit.errors import InvalidInputError

if TYPE_CHECKING:
    from skinaudit.artifacts.files import Progress
    from skinaudit.audit.figures.statistics import Interval
    from skinaudit.trainer.sweep import Point

ATTACKS = ("fgsm", "pgd", "pgd-dlr", "square:queries=500")
RADII = {"linf": ("1/255", "2/255", "4/255", "8/255", "16/255", "32/255"),
         "l2": ("32/255", "64/255", "128/255", "256/255", "512/255", "1024/255")}  # fmt: skip
STEPS = (5, 10, 20, 40, 80)


@dataclass(frozen=True)
class SweepRow:
    """Robust accuracy under one budget, as a share of 1 of all images, with its 95% interval.

    steps: None for the attack's own settings.
    """

    attack: str
    norm: str
    eps: str
    steps: int | None
    standing: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class SweepTable:
    """All figures. at: norm and eps of `by_steps`. clean: accuracy without an attack. signs: of a broken attack."""

    run: str
    images: int
    synthetic: bool
    clean: float
    at: str
    by_eps: tuple[SweepRow, ...]
    by_steps: tuple[SweepRow, ...]
    signs: tuple[Sign, ...]


def sweep(
    run: str | Path = LATEST,
    *,
    attack: Sequence[str] = (),
    eps: Sequence[str] = (),
    steps: Sequence[int] = (),
    at: str | None = None,
    norm: Literal["linf", "l2"] = "linf",
    images: int = 200,
    seed: int = 0,
    threads: int | None = None,
    picture: str | Path | None = None,
    progress: Callable[[str], Progress | None] = log_progress,
    remark: Callable[[str], None] = lambda _: None,
) -> SweepTable:
    """Measure attacks on a run's model with growing radius and growing steps, and draw the result.

    Each argument is the option of `skinaudit sweep` with the same name, and has the same default. Raises
    InvalidInputError for a run or an attack that cannot be used, MissingDependencyError without the extra `train`.
    """
    need("sweep", "torch", "torchvision", "matplotlib")
    run = Path(run)
    check_latest(run, remark=remark)

    from skinaudit.artifacts.run_folder import RunFolder
    from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
    from skinaudit.trainer import cpu
    from skinaudit.trainer.generate import own_threat_model
    from skinaudit.trainer.sweep import answered, budgets, measure
    from skinaudit.trainer.sweep_picture import draw_sweep
    from skinaudit.trainer.trial import subjects

    cpu.prepare(thread_count(threads))
    radii = sorted({ThreatModel(norm, parse_eps(text)) for text in eps or RADII[norm]}, key=lambda radius: radius.eps_255)
    inside = own_threat_model(run, norm) if at is None else ThreatModel(norm, parse_eps(at))
    inside = radii[len(radii) // 2] if inside is None else inside
    target = _place(RunFolder(run).sweep if picture is None else Path(picture))
    names = tuple(dict.fromkeys(attack)) or ATTACKS
    chosen = budgets(names, radii=radii, steps=sorted(set(steps or STEPS)), at=inside)
    given = subjects(run, images=images)
    clean = answered(given)
    by_eps, by_steps = (tuple(measure(given, part, seed=seed, progress=progress)) for part in chosen)
    table = SweepTable(
        run=str(run), images=len(clean), synthetic=given.synthetic, clean=float(clean.mean()), at=str(inside),
        by_eps=tuple(map(_row, by_eps)), by_steps=tuple(map(_row, by_steps)), signs=tuple(signs_of(by_eps, by_steps)),
    )  # fmt: skip
    draw_sweep(
        target, by_eps, by_steps, clean=table.clean, at=str(inside),
        marked={sign.place for sign in table.signs}, title=f"{run.name}: {_images(table)}",
    )  # fmt: skip
    return table


def _place(picture: Path) -> Path:
    """The path; raises InvalidInputError, before long work, if no picture can be written there."""
    from skinaudit.artifacts.files import can_be_written

    if picture.suffix.lower() != ".png":
        raise InvalidInputError(f"{picture}: is no name of a PNG; give --picture a name that ends in .png")
    if not can_be_written(picture):
        raise InvalidInputError(f"{picture}: cannot be written there; name another place with --picture FILE.png")
    return picture


def _images(table: SweepTable) -> str:
    return f"{table.images:,} {'SYNTHETIC ' if table.synthetic else ''}test images"


def _row(point: Point) -> SweepRow:
    from skinaudit.audit.figures.statistics import wilson_interval

    standing, count = int(point.standing.sum()), len(point.standing)
    return SweepRow(
        point.attack, point.threat_model.norm, point.threat_model.eps_text, point.steps, standing, standing / count,
        wilson_interval(standing, count),
    )  # fmt: skip
