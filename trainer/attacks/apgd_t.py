"""Auto-PGD towards one wrong class after another (Croce and Hein 2020, https://arxiv.org/abs/2003.01690)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.ascent.look import Worst, answer
from skinaudit.trainer.ascent.settling import by_ratio
from skinaudit.trainer.ascent.starts import check_counts, check_measuring, towards_classes
from skinaudit.trainer.attack_trace import AttackTrace

SETTINGS: dict[str, Any] = {"steps": 100, "targets": 9, "stop_margin": None, "settle": None}


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int = 100,
    targets: int = 9,
    stop_margin: float | None = None,
    settle: float | None = None,
    trace: AttackTrace | None = None,
) -> Tensor:
    """Increase the targeted difference of logits ratio towards the nearest wrong classes, with `steps` steps for each.

    targets: largest number of wrong classes. Shapes and dtypes as in pgd-dlr. A broken image leaves before the next class.
    stop_margin: if given, an image leaves at once when a wrong class leads by more; for measuring, not for storing. settle:
    only with stop_margin and without a trace, and at least 1. An image then also leaves a run that will not bring it to
    its class; see `ascent.settling`. Raises InvalidInputError for counts below 1 and for an invalid settle.
    """
    check_counts("apgd-t", steps=steps, targets=targets)
    check_measuring("apgd-t", settle, stop_margin=stop_margin, trace=trace)
    targets = min(targets, answer(model, images[:1]).shape[1] - 1)
    worst = Worst(images, labels, trace=trace)
    if trace is not None:
        trace.open(len(images), stages=[steps] * targets, device=images.device)
    towards_classes(
        model, images, labels, worst=worst, threat_model=threat_model, generator=generator, steps=steps, targets=targets,
        stop_margin=stop_margin, settle=settle, rule=by_ratio,
    )  # fmt: skip
    return worst.images
