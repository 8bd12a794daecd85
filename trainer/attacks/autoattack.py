"""AutoAttack's standard cascade: APGD-CE, APGD-T, FAB-T and Square (Croce and Hein 2020, https://arxiv.org/abs/2003.01690)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.ascent.look import Worst, answer
from skinaudit.trainer.ascent.losses import cross_entropy
from skinaudit.trainer.ascent.starts import check_counts, climb_standing, towards_classes
from skinaudit.trainer.attack_trace import AttackTrace
from skinaudit.trainer.attacks.fab_t import walk_boundaries
from skinaudit.trainer.attacks.square import search

SETTINGS: dict[str, Any] = {"steps": 100, "targets": 9, "queries": 5000, "stop_margin": None}


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int = 100,
    targets: int = 9,
    queries: int = 5000,
    stop_margin: float | None = None,
    trace: AttackTrace | None = None,
) -> Tensor:
    """Attack the images that still stand with one attack after the other; each leaves when it is broken.

    steps: of each run of the three attacks with gradients. targets: wrong classes of two of them, fewer where the model has
    fewer. queries: of Square. stop_margin: with a
    number, images leave in the midst of an attack once a wrong class leads by more: for measuring, not for storing. Shapes
    and dtypes as in pgd-dlr. Raises InvalidInputError on counts below 1.
    """
    check_counts("autoattack", steps=steps, targets=targets, queries=queries)
    targets = min(targets, answer(model, images[:1]).shape[1] - 1)
    worst = Worst(images, labels, trace=trace)
    if trace is not None:
        stages = [steps] * (1 + 2 * targets) + [queries]
        trace.open(len(images), stages=stages, device=images.device)
    climb_standing(
        model, images, labels, worst=worst, loss=cross_entropy, threat_model=threat_model, generator=generator, steps=steps,
        stop_margin=stop_margin,
    )  # fmt: skip
    towards_classes(
        model, images, labels, worst=worst, threat_model=threat_model, generator=generator, steps=steps, targets=targets,
        stop_margin=stop_margin,
    )  # fmt: skip
    walk_boundaries(
        model, images, labels, worst=worst, threat_model=threat_model, steps=steps, targets=targets, stop_margin=stop_margin
    )
    search(
        model, images, worst=worst, threat_model=threat_model, generator=generator, queries=queries, stop_margin=stop_margin,
    )  # fmt: skip
    return worst.images
