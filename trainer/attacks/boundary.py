"""Boundary attack: a random walk along the decision boundary towards the image, by classes alone (Brendel et al. 2018).

https://arxiv.org/abs/1712.04248
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.boundary import length, stretched
from skinaudit.trainer.ascent.look import Worst, answer
from skinaudit.trainer.attack_trace import AttackTrace

ANSWERS_ALONE = True
SETTINGS: dict[str, Any] = {"queries": 1000, "starts": 50}

_BISECTIONS = 10
_SIDEWAYS, _INWARD = 0.1, 0.05
"""Of the first steps along the boundary and towards the image, as shares of the distance between the two."""
_GROWN, _SHRUNK, _SHARES = 1.05, 0.97, (1e-3, 0.5)
"""By what a step changes when the proposal is misnamed, and when it is not; within these shares."""


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    queries: int = 1000,
    starts: int = 50,
    trace: AttackTrace | None = None,
) -> Tensor:
    """Start at a misnamed noise image, and take `queries` steps towards the image that the model still misnames.

    It asks for classes alone. starts: noise images that are tried until one is misnamed. Returned is, per image, the nearest
    misnamed point, taken back into the ball or stretched to all of eps, whichever has the greater margin. Only l2: raises
    InvalidInputError under linf, and on counts below 1. Shapes and dtypes as in pgd-dlr.
    """
    if threat_model.norm != "l2" or min(queries, starts) < 1:
        raise InvalidInputError(
            f"boundary: norm {threat_model.norm}, queries {queries}, starts {starts}: needs l2 and positive counts"
        )
    worst = Worst(images, labels, trace=trace)
    if trace is not None:
        trace.open(len(images), stages=[2], device=images.device)
    worst.meet(images, answer(model, images), torch.ones_like(images))
    noise_images = _misnamed_noise(model, images, labels, starts, generator)
    points = _bisected(model, images, noise_images, labels)
    sideways, inward = (torch.full((len(images), 1, 1, 1), size, device=images.device) for size in (_SIDEWAYS, _INWARD))
    for _ in range(queries):
        distance = length(points - images, norm="l2").view(-1, 1, 1, 1)
        noise = torch.empty_like(images).normal_(generator=generator)
        noise *= sideways * distance / length(noise, norm="l2").view(-1, 1, 1, 1)
        around = points + noise - images
        around *= distance / length(around, norm="l2").clamp_min(1e-12).view(-1, 1, 1, 1)
        proposal = (images + (1 - inward) * around).clamp(0, 1)
        good = (answer(model, proposal).argmax(1) != labels).view(-1, 1, 1, 1)
        points = torch.where(good, proposal, points)
        sideways, inward = (torch.where(good, size * _GROWN, size * _SHRUNK).clamp(*_SHARES) for size in (sideways, inward))
    points = _bisected(model, images, points, labels)
    far = stretched(points, images, threat_model=threat_model)
    for end in (ball.project(points, images, threat_model=threat_model), far):
        worst.meet(end, answer(model, end))
    # An image that was misnamed from the start is changed, too: a clean image in a set counts as one without an attack.
    unmoved = (worst.images == images).flatten(1).all(1).view(-1, 1, 1, 1)
    return torch.where(unmoved, stretched(noise_images, images, threat_model=threat_model), worst.images)


def _misnamed_noise(model: nn.Module, images: Tensor, labels: Tensor, starts: int, generator: torch.Generator) -> Tensor:
    """Noise images that the model misnames; where none is found, the last one."""
    points = torch.empty_like(images).uniform_(generator=generator)
    for _ in range(starts):
        right = answer(model, points).argmax(1) == labels
        if not bool(right.any()):
            break
        points = torch.where(right.view(-1, 1, 1, 1), torch.empty_like(images).uniform_(generator=generator), points)
    return points


def _bisected(model: nn.Module, images: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """The points moved along the line to their images, to the last misnamed one."""
    low = torch.zeros(len(images), 1, 1, 1, device=images.device)
    high = torch.ones_like(low)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        wrong = (answer(model, images + middle * (points - images)).argmax(1) != labels).view(-1, 1, 1, 1)
        low, high = torch.where(wrong, low, middle), torch.where(wrong, middle, high)
    moved: Tensor = images + high * (points - images)
    return moved
