"""Fast adaptive boundary attack towards one class after another (Croce and Hein, https://arxiv.org/abs/1907.02044)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.ascent.boundary import length, stretched, to_hyperplane
from skinaudit.trainer.ascent.look import Worst, answer, look, push_unmoved
from skinaudit.trainer.ascent.losses import margin, nearest
from skinaudit.trainer.ascent.starts import check_counts, standing_pairs
from skinaudit.trainer.attack_trace import AttackTrace

SETTINGS: dict[str, Any] = {"steps": 100, "targets": 9, "stop_margin": None}

_BACK, _BEYOND, _MOST_BIAS = 0.9, 1.05, 0.1
"""Share of the perturbation kept when a misclassified point goes back, overshoot, largest weight of the image in a move."""
_SURE, _REACH, _PACE = 0.2, 1 / 32, 1 / 16
"""Share of the steps before which no walk ends early. The others are explained in `walk_boundaries`."""


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
    trace: AttackTrace | None = None,
) -> Tensor:
    """Walk along the boundary to each of the nearest wrong classes, and look for its point nearest to the image.

    targets: largest number of wrong classes. Returns for each image the point of greatest margin in the ball; the nearest
    point stretched to all of eps is one candidate. Shapes and dtypes as in pgd-dlr; stop_margin as in apgd-t. Deterministic;
    the generator is not used. Raises InvalidInputError for counts below 1.
    """
    check_counts("fab-t", steps=steps, targets=targets)
    targets = min(targets, answer(model, images[:1]).shape[1] - 1)
    worst = Worst(images, labels, trace=trace)
    if trace is not None:
        trace.open(len(images), stages=[steps] * targets, device=images.device)
    walk_boundaries(
        model, images, labels, worst=worst, threat_model=threat_model, steps=steps, targets=targets, stop_margin=stop_margin
    )
    push_unmoved(model, images, labels, worst=worst, threat_model=threat_model)
    return worst.images


def walk_boundaries(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    worst: Worst,
    threat_model: ThreatModel,
    steps: int,
    targets: int,
    stop_margin: float | None = None,
    settle: float | None = None,
) -> None:
    """The walk for the images that are not broken yet; every step is passed to `worst`.

    settle: only with a stop_margin, after other attacks. Only images walk that miss at most settle * _REACH of the margin
    that they gained in those attacks. An image leaves a walk whose nearest misclassified point is too far outside the ball:
    by more than settle * _PACE * eps, times the steps that are left, over those that are done.
    """
    before = answer(model, images)
    order = nearest(before, labels)[:, :targets]
    at_once = None if settle is None else worst.within_reach(margin(before, labels), settle * _REACH)
    for index, aims in standing_pairs(worst, order, at_once=at_once):
        _walk(model, images, labels, index, aims, worst, threat_model, steps=steps, stop_margin=stop_margin, settle=settle)


def _walk(
    model: nn.Module, images: Tensor, labels: Tensor, index: Tensor, aim: Tensor, worst: Worst, threat_model: ThreatModel,
    *, steps: int, stop_margin: float | None, settle: float | None,
) -> None:  # fmt: skip
    norm, clean = threat_model.norm, images[index]
    truth, points = labels[index], clean
    nearest_one, least = clean, torch.full((len(index),), torch.inf, device=clean.device)
    for number in range(steps + 1):
        gradient, value, logits = look(model, points, truth, margin, aims=aim)
        distance = length(points - clean, norm=norm)
        inside = distance <= threat_model.eps * (1 + 1e-6)
        worst.meet(points[inside], logits[inside], gradient[inside], index=index[inside])
        misnamed = margin(logits, truth) > 0
        nearer = misnamed & (distance < least)
        nearest_one = torch.where(nearer.view(-1, 1, 1, 1), points, nearest_one)
        least = torch.where(nearer, distance, least)
        if number == steps:
            break
        # A misclassified point goes back towards its image; its value there is predicted from the gradient.
        shift = torch.where(misnamed.view(-1, 1, 1, 1), (1 - _BACK) * (points - clean), torch.zeros_like(points))
        points, value = points - shift, value - (gradient * shift).flatten(1).sum(1)
        points = _towards(points, clean, gradient, value, norm=norm)
        if stop_margin is not None:
            going = worst.margin[index] <= stop_margin
            if settle is not None and number >= _SURE * steps:
                going &= least <= threat_model.eps * (1 + settle * _PACE * (steps - number) / number)
            if not bool(going.any()):
                return
            index, clean, truth, aim = index[going], clean[going], truth[going], aim[going]
            points, nearest_one, least = points[going], nearest_one[going], least[going]
    far = stretched(nearest_one, clean, threat_model=threat_model)
    worst.meet(far, answer(model, far), index=index)


def _towards(points: Tensor, clean: Tensor, gradient: Tensor, value: Tensor, *, norm: str) -> Tensor:
    """A step to the linearised boundary. It mixes the steps from the point and from the image by their distances to it."""
    at_image = value - (gradient * (points - clean)).flatten(1).sum(1)
    own = to_hyperplane(points, gradient, value, norm=norm)
    biased = to_hyperplane(clean, gradient, at_image, norm=norm)
    short, long = length(own, norm=norm).clamp_min(1e-8), length(biased, norm=norm).clamp_min(1e-8)
    share = (short / (short + long)).clamp_max(_MOST_BIAS).view(-1, 1, 1, 1)
    mixed: Tensor = (1 - share) * (points + _BEYOND * own) + share * (clean + _BEYOND * biased)
    return mixed.clamp(0, 1)
