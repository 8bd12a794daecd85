"""How long an epoch of each kind of training takes, as a multiple of plain PGD's: measured in turns in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch

from skinaudit.artifacts.contract import CLASSES, MALIGNANT
from skinaudit.bench.attacks import Batch
from skinaudit.bench.hardening import ours
from skinaudit.bench.method_parts.candidates import BASELINE, STANDARD, Candidate, named
from skinaudit.bench.timing import interleaved
from skinaudit.trainer.computing import Computing
from skinaudit.trainer.models import build

ROUNDS = 3


def measure_costs(
    candidates: Sequence[Candidate],
    *,
    size: int,
    width: float,
    batch: int,
    images: int,
    computing: Computing,
    device: torch.device,
    say: Callable[[str], None],
) -> dict[str, float]:
    """Median seconds of an epoch at full eps by kind of work, over those of plain PGD; `standard` for clean epochs.

    Drawn images: what an epoch costs does not depend on what they show.
    """
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (images, 3, size, size), dtype=np.uint8)
    drawn = Batch(pixels, generator.integers(0, len(CLASSES), images))
    all_of = (*named((BASELINE, STANDARD)), *candidates)
    kinds = {
        candidate.clean_work: replace(candidate, hardening="none", malignant=Fraction(1), awp=0.0, steps=None)
        for candidate in all_of
    }
    kinds |= {candidate.work: candidate for candidate in all_of}
    contestants = {}
    for work, candidate in kinds.items():
        recipe = candidate.recipe_of(epochs=1, batch=batch, malignant=MALIGNANT)
        hardening = candidate.hardening_for(Fraction(2), recipe=recipe, malignant=MALIGNANT)
        model = build("mobilenet", width=1.0 if candidate.pretrained else width, size=size).to(device)
        if hardening is not None:
            hardening = replace(hardening, warm_up=0.0, ramp=0.0)
        contestants[work] = ours(model, drawn, hardening, recipe=recipe, computing=computing)
    interleaved(contestants, rounds=1)
    contest = interleaved(contestants, rounds=ROUNDS, say=say)
    base = contest.median(named((BASELINE,))[0].work)
    return {work: contest.median(work) / base for work in kinds}


def epochs_of(candidate: Candidate, costs: Mapping[str, float], *, epochs: int) -> int:
    """As many epochs as take the time of `epochs` ones of plain PGD, each with its warm-up on clean images; at least 5."""
    (baseline,) = named((BASELINE,))
    return max(5, round(epochs * _mean_cost(baseline, costs) / _mean_cost(candidate, costs)))


def _mean_cost(candidate: Candidate, costs: Mapping[str, float]) -> float:
    share = 1.0 if candidate.hardening == "none" else candidate.warm_up
    return share * costs[candidate.clean_work] + (1 - share) * costs[candidate.work]
