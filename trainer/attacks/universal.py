"""One perturbation for all images, by gradient ascent (universal perturbations, Moosavi-Dezfooli et al. 2017).

https://arxiv.org/abs/1610.08401; ascent on mini-batches with a clipped loss is from Shafahi et al. 2020,
https://arxiv.org/abs/1811.11304.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.look import Worst, answer, look
from skinaudit.trainer.ascent.losses import scaled_margin
from skinaudit.trainer.attack_trace import AttackTrace

SETTINGS: dict[str, Any] = {"epochs": 10, "batch": 64, "step_share": 0.1, "targeted": False}
WHOLE_SET = True
"""All images of a set are attacked in one call."""

_MOST = 0.5
"""Largest margin, as a share of the spread, at which an image still counts. Broken images would otherwise dominate."""

_WHOLE_WAY = 2.5
"""Least length of all steps together, in eps."""


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    epochs: int = 10,
    batch: int = 64,
    step_share: float = 0.1,
    targeted: bool = False,
    trace: AttackTrace | None = None,
) -> Tensor:
    """Increase the mean margin of mini-batches, divided by the spread of the logits, with one common perturbation.

    step_share: size of a step as a share of eps. If the steps are too few to cross the ball, each is larger: together they
    make 2.5 eps, as in Madry's rule for PGD, but none is longer than eps. The same perturbation is added to every image,
    which is then clipped to the pixel box. Shapes, dtypes and `targeted` as in pgd-dlr. Raises InvalidInputError for
    settings out of range.
    """
    if min(epochs, batch) < 1 or not 0 < step_share <= 1:
        raise InvalidInputError(
            f"universal: epochs {epochs}, batch {batch}, step_share {step_share}: the counts must be positive, and the "
            "share in (0, 1]"
        )
    worst = Worst(images, labels, targeted=targeted, trace=trace)
    if trace is not None:
        trace.open(len(images), stages=[1], device=images.device)
        gradient, _, logits = look(model, images, labels, scaled_margin, targeted=targeted)
        worst.meet(images, logits, gradient)
    middle = torch.full_like(images[:1], 0.5)  # no image's box: only the ball limits the perturbation itself
    shift, best, most = torch.zeros_like(middle), torch.zeros_like(middle), -1.0
    size = max(step_share, min(1.0, _WHOLE_WAY / (epochs * math.ceil(len(images) / batch)))) * threat_model.eps
    for _ in range(epochs):
        broken = 0
        order = torch.randperm(len(images), generator=generator, device=images.device)
        for first in range(0, len(images), batch):
            rows = order[first : first + batch]
            points = (images[rows] + shift).clamp(0, 1)
            gradient, value, _ = look(model, points, labels[rows], scaled_margin, targeted=targeted)
            broken += int((value > 0).sum())
            pull = (gradient * (value < _MOST).view(-1, 1, 1, 1)).mean(0, keepdim=True)
            stepped = ball.step(middle + shift, pull, threat_model=threat_model, size=size)
            shift = ball.project(stepped, middle, threat_model=threat_model) - middle
        if broken >= most:
            best, most = shift, broken
    moved = (images + best).clamp(0, 1)
    worst.meet(moved, answer(model, moved))
    return moved
