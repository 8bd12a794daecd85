"""Carlini and Wagner's l2 attack: the smallest perturbation, found by Adam in transformed variables (2017).

https://arxiv.org/abs/1608.04644
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.boundary import length, stretched
from skinaudit.trainer.ascent.look import Worst, answer, look, push_unmoved
from skinaudit.trainer.ascent.losses import margin
from skinaudit.trainer.attack_trace import AttackTrace

SETTINGS: dict[str, Any] = {
    "steps": 100, "searches": 6, "learning_rate": 0.01, "constant": 1.0, "targeted": False,
}  # fmt: skip


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int = 100,
    searches: int = 6,
    learning_rate: float = 0.01,
    constant: float = 1.0,
    targeted: bool = False,
    trace: AttackTrace | None = None,
) -> Tensor:
    """Minimise the squared l2 norm plus `constant` times the missing margin; `searches` runs adapt the constant.

    The margin is divided by the spread of the clean image's logits, so the constant means the same for logits of any scale.
    The present spread would not do: with two classes it vanishes at the boundary. Pixels are clipped to the box; in the
    paper they are tanh of a variable, but black and white pixels would then hardly move. steps, learning_rate: of Adam in
    each run; a step is half of the rate, as with tanh in the middle of the box. Returns for each image the point of greatest
    margin in the ball; the smallest perturbation stretched to all of eps is one candidate. Only l2. Raises InvalidInputError
    for linf and for settings out of range. Shapes, dtypes and `targeted` as in pgd-dlr. Deterministic; the generator is not
    used.
    """
    if threat_model.norm != "l2" or min(steps, searches) < 1 or learning_rate <= 0 or constant <= 0:
        raise InvalidInputError(
            f"carlini-wagner: norm {threat_model.norm}, steps {steps}, searches {searches}, learning_rate {learning_rate}, "
            f"constant {constant}: needs l2 and positive settings"
        )
    worst = Worst(images, labels, targeted=targeted, trace=trace)
    if trace is not None:
        trace.open(len(images), stages=[steps] * searches, device=images.device)
    low, high = torch.zeros(len(images), device=images.device), torch.full((len(images),), torch.inf, device=images.device)
    weight = torch.full_like(low, constant)
    logits = answer(model, images)
    spread = (logits.amax(1) - logits.amin(1)).clamp_min(1e-12)
    smallest, least = images.clone(), torch.full_like(low, torch.inf)
    for _ in range(searches):
        perturbed, distance = _minimise(
            model, images, labels, weight / spread, worst, threat_model, steps=steps, rate=learning_rate, targeted=targeted
        )
        smaller = distance < least
        smallest = torch.where(smaller.view(-1, 1, 1, 1), perturbed, smallest)
        least = torch.minimum(distance, least)
        done = distance.isfinite()
        high, low = torch.where(done, weight, high), torch.where(done, low, weight)
        weight = torch.where(high.isfinite(), (low + high) / 2, weight * 10)
    for end in (ball.project, stretched):
        points = end(smallest, images, threat_model=threat_model)
        worst.meet(points, answer(model, points))
    push_unmoved(model, images, labels, worst=worst, threat_model=threat_model, targeted=targeted)
    return worst.images


def _minimise(
    model: nn.Module, images: Tensor, labels: Tensor, weight: Tensor, worst: Worst, threat_model: ThreatModel,
    *, steps: int, rate: float, targeted: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The smallest successful perturbed images (N, 3, H, W) and their distances (N,), infinite if there is none."""
    points = images
    first, second = torch.zeros_like(images), torch.zeros_like(images)
    nearest, least = images.clone(), torch.full((len(images),), torch.inf, device=images.device)
    for number in range(1, steps + 1):
        gradient, _, logits = look(model, points, labels, margin, targeted=targeted)
        distance = length(points - images, norm="l2")
        inside = distance <= threat_model.eps
        rows = inside.nonzero().squeeze(1)
        worst.meet(points[inside], logits[inside], gradient[inside], index=rows)
        lead = margin(logits, labels) * (-1 if targeted else 1)
        smaller = (lead > 0) & (distance < least)
        nearest = torch.where(smaller.view(-1, 1, 1, 1), points, nearest)
        least = torch.where(smaller, distance, least)
        pull = torch.where(lead > 0, 0.0, weight).view(-1, 1, 1, 1)
        slope = 2 * (points - images) - pull * gradient
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope.square()
        step = first / (1 - 0.9**number) / ((second / (1 - 0.999**number)).sqrt() + 1e-8)
        points = (points - rate / 2 * step).clamp(0, 1)
    return nearest, least
