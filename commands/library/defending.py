"""The measurements of `skinaudit defences`: each input defence under an attack that ignores it and one through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from skinaudit.commands.library.arguments import log_progress, thread_count
from skinaudit.commands.library.optional import need
from skinaudit.commands.library.run_folders import LATEST, check_latest
from skinaudit.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from skinaudit.artifacts.files import Progress
    from skinaudit.audit.figures.statistics import Interval
    from skinaudit.engines.defences import Defence
    from skinaudit.engines.engine import Provider

    Answers = Callable[[NDArray[np.uint8], Defence | None], NDArray[np.int64]]
    Logits = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class DefenceRow:
    """One defence; accuracies as shares of 1 of the same images. defence: `none`, or as it was given.

    naive: robust accuracy on images crafted on the model without its defence. adaptive: on images crafted through it.
    robust: of the images that stand under both, with its 95% interval. broken_attack: whether the attack through the defence
    broke fewer images than the one that ignored it, so that neither can be trusted.
    """

    defence: str
    clean: float
    naive: float
    adaptive: float
    robust: float
    interval: Interval
    broken_attack: bool


@dataclass(frozen=True)
class DefenceTable:
    """All rows. attack: as it was given, with norm and eps. answered_by: the engine's file, or the run."""

    attack: str
    answered_by: str
    images: int
    draws: int
    synthetic: bool
    rows: tuple[DefenceRow, ...]


def defences(
    run: str | Path = LATEST,
    *,
    defence: Sequence[str] = (),
    attack: str = "pgd",
    norm: Literal["linf", "l2"] = "linf",
    eps: str | None = None,
    engine: str | Path | None = None,
    images: int = 200,
    draws: int = 10,
    seed: int = 0,
    provider: Provider | None = None,
    threads: int | None = None,
    progress: Callable[[str], Progress | None] = log_progress,
    remark: Callable[[str], None] = lambda _: None,
) -> DefenceTable:
    """Measure input transformations in front of a run's model, or of one of its engines.

    Each argument is the option of `skinaudit defences` with the same name, and has the same default. Raises
    InvalidInputError for a run, engine, attack or defence that cannot be used, MissingDependencyError without the extra
    `train`.
    """
    need("defences", "torch", "torchvision")
    run = Path(run)
    check_latest(run, remark=remark)

    from skinaudit.engines.isolation.launching import engine_processes
    from skinaudit.trainer import cpu
    from skinaudit.trainer.generate import plans_for
    from skinaudit.trainer.trial import crafted, subjects

    cpu.prepare(thread_count(threads))
    chosen = [_parsed(text, run) for text in defence or _all_names()]
    (plan,) = plans_for(run, (attack,), norm=norm, eps=eps, settings={})
    given = subjects(run, images=images)
    rows = []
    with engine_processes():
        answers = _answers(run, engine, draws=draws, provider=provider, threads=threads)
        naive = crafted(given, plan, defence=None, draws=1, seed=seed, progress=progress("attack without defence"))
        for text, applied in [("none", None), *chosen]:
            adaptive = naive
            if applied is not None:
                adaptive = crafted(
                    given, plan, defence=applied, draws=draws, seed=seed, progress=progress(f"attack through {text}")
                )
            rights = [answers(shown, applied) == given.labels for shown in (given.images, naive, adaptive)]
            rows.append(_row(text, *rights))
    by = str(run if engine is None else engine)
    return DefenceTable(f"{attack} {plan.threat_model}", by, len(given.labels), draws, given.synthetic, tuple(rows))


def _row(text: str, clean: NDArray[np.bool_], naive: NDArray[np.bool_], adaptive: NDArray[np.bool_]) -> DefenceRow:
    from skinaudit.audit.figures.statistics import wilson_interval

    robust = naive & adaptive
    return DefenceRow(
        text, float(clean.mean()), float(naive.mean()), float(adaptive.mean()), float(robust.mean()),
        wilson_interval(float(robust.sum()), len(robust)), bool(adaptive.mean() > naive.mean()),
    )  # fmt: skip


def _all_names() -> tuple[str, ...]:
    from skinaudit.engines import defences

    return defences.names()


def _parsed(text: str, run: Path) -> tuple[str, Defence]:
    """The defence, with the run's calibration images as its training images."""
    from skinaudit.artifacts.manifest import read_run, resolve
    from skinaudit.engines.defences import parse
    from skinaudit.export.calibration import read_calibration

    manifest = read_run(run)
    calibration = read_calibration(resolve(run, manifest.calibration), size=manifest.contract.size)
    return text, parse(text, examples=calibration.images)


def _answers(run: Path, engine: str | Path | None, *, draws: int, provider: Provider | None, threads: int | None) -> Answers:
    """The function that answers: the engine, or the run's own model if there is none."""
    import numpy as np

    from skinaudit.engines.defended import defended

    logits = _of_run(run) if engine is None else _of_engine(run, Path(engine), provider, threads)

    def answers(shown: NDArray[np.uint8], defence: Defence | None) -> NDArray[np.int64]:
        answering = logits if defence is None else partial(defended, logits, defence, draws)
        return np.concatenate([answering(part).argmax(1) for part in _batches(shown)])

    return answers


def _of_run(run: Path) -> Logits:
    from skinaudit.trainer.checkpoint import load_run_model
    from skinaudit.trainer.evaluate import logits_of
    from skinaudit.trainer.models import folded

    return partial(logits_of, folded(load_run_model(run)))


def _of_engine(run: Path, path: Path, provider: Provider | None, threads: int | None) -> Logits:
    """An engine of the run; raises InvalidInputError for an engine with other weights."""
    from skinaudit.artifacts.manifest import read_engine_manifest, read_run
    from skinaudit.engines.open import open_engine

    manifest = read_engine_manifest(path)
    if manifest.lineage.get("weights") != read_run(run).weights.digest:
        raise InvalidInputError(f"{path}: not built from the weights of {run}; name an engine of that run")
    return open_engine(path, own=manifest.contract, provider=provider, threads=threads).logits


def _batches(images: NDArray[np.uint8], size: int = 64) -> Iterator[NDArray[np.uint8]]:
    for first in range(0, len(images), size):
        yield images[first : first + size]
