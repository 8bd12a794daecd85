"""Boundary attack: a random walk along the decision boundary towards the image; needs only classes (Brendel et al. 2018).

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
"""Sizes of the first steps along the boundary and towards the image, as shares of the distance between point and image."""
_GROWN, _SHRUNK, _SHARES = 1.05, 0.97, (1e-3, 0.5)
"""Factors on the step size if the proposal is misclassified and if not, and the bounds of these shares."""


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
    """Start at a misclassified noise image and take `queries` steps towards the image, staying misclassified.

    The model is asked only for classes. starts: number of noise images to try until one is misclassified. For each image,
    two points are compared: the nearest misclassified point projected into the ball, and the same stretched to all of eps.
    The one with the greater margin is returned. Only l2. Raises InvalidInputError for linf and for counts below 1. Shapes
    and dtypes as in pgd-dlr.
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
    # Images that are misclassified without an attack are changed too: in a set, a clean image would count as not attacked.
    unmoved = (worst.images == images).flatten(1).all(1).view(-1, 1, 1, 1)
    return torch.where(unmoved, stretched(noise_images, images, threat_model=threat_model), worst.images)


def _misnamed_noise(model: nn.Module, images: Tensor, labels: Tensor, starts: int, generator: torch.Generator) -> Tensor:
    """Noise images that the model misclassifies; the last one tried if it misclassifies none."""
    points = torch.empty_like(images).uniform_(generator=generator)
    for _ in range(starts):
        right = answer(model, points).argmax(1) == labels
        if not bool(right.any()):
            break
        points = torch.where(right.view(-1, 1, 1, 1), torch.empty_like(images).uniform_(generator=generator), points)
    return points


def _bisected(model: nn.Module, images: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """Points moved along the line towards their images, up to the last misclassified one."""
    low = torch.zeros(len(images), 1, 1, 1, device=images.device)
    high = torch.ones_like(low)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        wrong = (answer(model, images + middle * (points - images)).argmax(1) != labels).view(-1, 1, 1, 1)
        low, high = torch.where(wrong, low, middle), torch.where(wrong, middle, high)
    moved: Tensor = images + high * (points - images)
    return moved
