"""SPSA: gradients estimated from answers at pairs of points (Uesato et al. 2018, https://arxiv.org/abs/1802.05666)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.ascent.climb import move, step_share
from skinaudit.trainer.ascent.look import Worst, answer
from skinaudit.trainer.ascent.losses import margin
from skinaudit.trainer.attack_trace import AttackTrace

ANSWERS_ALONE = True
SETTINGS: dict[str, Any] = {"steps": 40, "samples": 32, "delta": 0.01, "targeted": False}


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int = 40,
    samples: int = 32,
    delta: float = 0.01,
    targeted: bool = False,
    trace: AttackTrace | None = None,
) -> Tensor:
    """Increase the margin along estimated gradients, each from `samples` pairs of answers at distance `delta` (pixel units).

    The model is asked for no gradient, only for 2 x `samples` answers per step. Shapes, dtypes and `targeted` as in pgd-dlr.
    Raises InvalidInputError for settings out of range.
    """
    if min(steps, samples) < 1 or delta <= 0:
        raise InvalidInputError(f"spsa: steps {steps}, samples {samples}, delta {delta}: must be positive")
    worst = Worst(images, labels, targeted=targeted, trace=trace)
    if trace is not None:
        trace.open(len(images), stages=[steps], device=images.device)
    moved = before = images
    sign = -1 if targeted else 1
    for number in range(steps):
        gradient = torch.zeros_like(images)
        for _ in range(samples):
            signs = torch.randint(2, images.shape, generator=generator, device=images.device).to(images.dtype) * 2 - 1
            up, down = (sign * margin(answer(model, (moved + side * delta * signs).clamp(0, 1)), labels) for side in (1, -1))
            gradient += (up - down).view(-1, 1, 1, 1) * signs
        worst.meet(moved, answer(model, moved), gradient)
        size = threat_model.eps * step_share(number, steps)
        share = 0.75 if number else 1.0
        moved, before = move(moved, before, images, gradient, threat_model=threat_model, size=size, share=share), moved
    worst.meet(moved, answer(model, moved))
    return worst.images
