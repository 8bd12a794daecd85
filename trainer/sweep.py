"""Measures which images stand under attacks as their radius or their number of steps grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer import attacks
from skinaudit.trainer.evaluate import logits_of
from skinaudit.trainer.generate import AttackPlan, check_plan
from skinaudit.trainer.trial import Subjects, crafted


@dataclass(frozen=True, eq=False)
class Point:
    """One attack with one budget. attack: as it was given, without `steps` if they are those of the point.

    steps: None if the attack's own settings apply. answers_alone: whether the attack asks for no gradient. standing: bool
    (N,), images that are still classified correctly.
    """

    attack: str
    threat_model: ThreatModel
    steps: int | None
    answers_alone: bool
    standing: NDArray[np.bool_]


@dataclass(frozen=True)
class Budget:
    """The attack, radius and steps of a point."""

    attack: str
    plan: AttackPlan
    steps: int | None


def budgets(
    names: Sequence[str], *, radii: Sequence[ThreatModel], steps: Sequence[int], at: ThreatModel
) -> tuple[tuple[Budget, ...], tuple[Budget, ...]]:
    """Every attack with every radius and, if it has steps, with every number of steps at the threat model `at`.

    names: NAME or NAME:key=value,... Raises InvalidInputError for settings that an attack refuses, before anything is
    attacked.
    """
    by_eps, by_steps = [], []
    for text in names:
        name, given = attacks.parse(text)
        by_eps += [Budget(text, AttackPlan(name, radius, given), None) for radius in radii]
        if "steps" in attacks.load(name)[1] and not attacks.answers_alone(name):
            counted = _without_steps(text)
            by_steps += [Budget(counted, AttackPlan(name, at, {**given, "steps": count}), count) for count in steps]
    for budget in (*by_eps, *by_steps):
        check_plan(budget.plan)
    different = {(budget.attack, budget.steps): budget for budget in by_steps}
    return tuple(by_eps), tuple(different.values())


def _without_steps(text: str) -> str:
    """The attack as given, without a number of steps of its own: the curve has its own numbers."""
    name, _, settings = text.partition(":")
    others = [part for part in settings.split(",") if part and part.partition("=")[0].strip() != "steps"]
    return f"{name}:{','.join(others)}" if others else name


def measure(
    given: Subjects, chosen: Sequence[Budget], *, seed: int, progress: Callable[[str], Progress | None]
) -> Iterator[Point]:
    """Measure which images stand under each budget. Images that are misclassified without an attack never do."""
    right = answered(given)
    subjects = replace(given, images=given.images[right], labels=given.labels[right])
    for budget in chosen:
        standing = right.copy()
        if right.any():
            said = "" if budget.steps is None else f", {budget.steps} steps"
            bar = progress(f"{budget.attack} {budget.plan.threat_model}{said}")
            attacked = crafted(subjects, budget.plan, seed=seed, progress=bar)
            standing[right] = answered(replace(subjects, images=attacked))
        alone = attacks.answers_alone(budget.plan.attack)
        yield Point(budget.attack, budget.plan.threat_model, budget.steps, alone, standing)


def answered(given: Subjects) -> NDArray[np.bool_]:
    """Mask of the images that the model classifies correctly, bool (N,)."""
    return np.asarray(logits_of(given.model, given.images).argmax(axis=1) == given.labels)
