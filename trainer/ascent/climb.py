"""Steps with momentum. Their size falls from twice the radius to a tenth of it along half a cosine."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.look import Worst, answer, look
from skinaudit.trainer.ascent.losses import Loss

FIRST_STEP, LAST_STEP = 2.0, 0.1
"""Size of the first and the last step as shares of eps."""


def climb(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    worst: Worst,
    start: Tensor,
    steps: int,
    loss: Loss,
    threat_model: ThreatModel,
    momentum: float,
    aims: Tensor | None = None,
    targeted: bool = False,
    first_step: float = FIRST_STEP,
    index: Tensor | None = None,
) -> None:
    """Increase the loss from `start` within the ball around `images`; pass each of the `steps` + 1 points to `worst`.

    momentum: weight of the new step in a move; the previous move has the rest (Croce and Hein 2020). aims, targeted: see
    `look`. first_step: its size as a share of eps. index: which images of `worst` these are; None for all.
    """
    moved = before = start
    for number in range(steps):
        gradient, _, logits = look(model, moved, labels, loss, aims=aims, targeted=targeted)
        worst.meet(moved, logits, gradient, index=index)
        share = momentum if number else 1.0
        size = threat_model.eps * step_share(number, steps, first=first_step)
        moved, before = move(moved, before, images, gradient, threat_model=threat_model, size=size, share=share), moved
    worst.meet(moved, answer(model, moved), index=index)


def step_share(number: int, steps: int, *, first: float = FIRST_STEP) -> float:
    """Size of a step as a share of eps: `first` for the first step, LAST_STEP for the last one."""
    fallen = (1 - math.cos(math.pi * number / max(1, steps - 1))) / 2
    return first + (LAST_STEP - first) * fallen


def move(
    moved: Tensor, before: Tensor, images: Tensor, gradient: Tensor, *, threat_model: ThreatModel,
    size: float | Tensor, share: float, bounds: ball.Bounds | None = None,
) -> Tensor:  # fmt: skip
    """A projected step with weight `share`, mixed with the previous move from `before` to `moved`. bounds: see `project`."""
    stepped = ball.step(moved, gradient, threat_model=threat_model, size=size)
    stepped = ball.project(stepped, images, threat_model=threat_model, bounds=bounds)
    if share == 1:
        return stepped
    mixed = torch.lerp(moved, stepped, share) + (1 - share) * (moved - before)
    return ball.project(mixed, images, threat_model=threat_model, bounds=bounds)
