"""Momentum iterative fast gradient sign method (Dong et al. 2018, https://arxiv.org/abs/1710.06081)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.look import Worst, answer, look
from skinaudit.trainer.ascent.losses import cross_entropy
from skinaudit.trainer.attack_trace import AttackTrace

SETTINGS: dict[str, Any] = {"steps": 10, "decay": 1.0, "targeted": False}


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int = 10,
    decay: float = 1.0,
    targeted: bool = False,
    trace: AttackTrace | None = None,
) -> Tensor:
    """Steps of eps / `steps` along a sum of gradients, each of norm 1; the sum decays by the factor `decay` per step.

    The attack of the paper, made for transfer. For each image the point of greatest margin is kept. Shapes, dtypes and
    `targeted` as in pgd-dlr. Deterministic; the generator is not used. Raises InvalidInputError for settings out of range.
    """
    if steps < 1 or decay < 0:
        raise InvalidInputError(f"mi-fgsm: steps {steps}, decay {decay}: give at least one step, and a decay of at least 0")
    worst = Worst(images, labels, targeted=targeted, trace=trace)
    if trace is not None:
        trace.open(len(images), stages=[steps], device=images.device)
    moved, direction = images, torch.zeros_like(images)
    for _ in range(steps):
        gradient, _, logits = look(model, moved, labels, cross_entropy, targeted=targeted)
        worst.meet(moved, logits, gradient)
        sizes = gradient.flatten(1).abs().sum(1).clamp_min(1e-12)
        direction = decay * direction + gradient / sizes.view(-1, 1, 1, 1)
        moved = ball.step(moved, direction, threat_model=threat_model, size=threat_model.eps / steps)
        moved = ball.project(moved, images, threat_model=threat_model)
    worst.meet(moved, answer(model, moved))
    return worst.images
