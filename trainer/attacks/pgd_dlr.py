"""PGD that spends gradients on the images that it may still break. It uses as many gradients as PGD with the same steps.

Every image gets one run on the cross-entropy and one towards the nearest wrong class. The remaining gradients go to the
images that still stand: longer runs, each towards one wrong class. First come the classes that are nearest if the model is
linear around the clean image. These runs start alternately at the worst point so far and at a random point.

The parts are known: large first steps with momentum, and the loss for targets, are from Croce and Hein 2020
(https://arxiv.org/abs/2003.01690); one target after another is from Gowal et al. 2019 (https://arxiv.org/abs/1910.09338);
the linear distance to a class is that of Moosavi-Dezfooli et al. 2016 (https://arxiv.org/abs/1511.04599).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.climb import FIRST_STEP, climb
from skinaudit.trainer.ascent.look import Worst, answer, look
from skinaudit.trainer.ascent.losses import cross_entropy, dlr, margin, nearest, scaled_margin
from skinaudit.trainer.attack_trace import AttackTrace

_FURTHER_FIRST_STEP = 1.0
"""Size of the first step, as a share of eps, of a run that starts at the worst point so far."""
_PART = 4
"""A run attacks at most one in this many of the standing images, so that later runs know which ones were broken."""
_ROUNDS = 2
"""Largest number of runs of one image for each of its wrong classes. With a target class, all of them lead towards that."""
_CLASSES = 9
"""Largest number of wrong classes, those with the largest logits; each costs the gradient that measures its distance."""

_LEAST = 1e-30
"""Smallest gain that is divided by; the price of a class whose gradient is 0 stays finite, so that it is tried last."""

SETTINGS: dict[str, Any] = {"steps": 40, "momentum": 0.75, "targeted": False}


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int = 40,
    momentum: float = 0.75,
    targeted: bool = False,
    trace: AttackTrace | None = None,
) -> Tensor:
    """Start at a random point, later mostly at the worst point so far. steps: mean number of gradients per image.

    images: float32 (N, 3, H, W) in [0, 1]. labels: int64 (N,), the true classes, or the target classes if `targeted` (every
    run then goes towards them). momentum: see `climb`. A quarter of the steps increases the cross-entropy, a quarter the
    ratio towards the nearest wrong class, and half goes to the images that still stand. Of that half, one gradient per class
    measures its distance (if at least half of it is left then), and the others are for runs. Steps that are left when no
    image stands or all have had enough go to all images. Returns for each image the point of greatest margin that was
    evaluated, inside ball and box, float32. No loss depends on the scale of the logits. The model must be in
    evaluation mode. Raises InvalidInputError for settings out of range.
    """
    if steps < 1 or not 0 < momentum <= 1:
        raise InvalidInputError(
            f"pgd-dlr: steps {steps}, momentum {momentum}: give at least one step, and a momentum in (0, 1]"
        )
    before = answer(model, images)
    opening, length = max(1, steps // 4), max(1, steps // 2)
    aims = labels.view(-1, 1) if targeted else nearest(before, labels)[:, :_CLASSES]
    rounds = _ROUNDS * (before.shape[1] - 1) if targeted else _ROUNDS
    worst = Worst(images, labels, targeted=targeted, trace=trace)
    if trace is not None:
        stages = [opening, opening, *[length] * (rounds * aims.shape[1]), max(length, steps - 2 * opening)]
        trace.open(len(images), stages=stages, device=images.device)
    climb(
        model, images, labels, worst=worst, steps=opening, threat_model=threat_model, momentum=momentum,
        start=ball.start(images, threat_model=threat_model, generator=generator), loss=cross_entropy, targeted=targeted,
        first_step=FIRST_STEP,
    )  # fmt: skip

    def again(index: Tensor, aim: Tensor, count: int, *, anew: Tensor | None = None) -> int:
        """One more run of `count` steps for these images towards these wrong classes; returns the gradients used.

        anew: bool (n,), which of them start at a random point.
        """
        begin = worst.images[index]
        if anew is not None and bool(anew.any()):
            begin[anew] = ball.start(images[index[anew]], threat_model=threat_model, generator=generator)
        climb(
            model, images[index], labels[index], worst=worst, start=begin, steps=count, momentum=momentum,
            threat_model=threat_model, loss=scaled_margin if targeted else dlr, aims=None if targeted else aim,
            targeted=targeted, first_step=_FURTHER_FIRST_STEP, index=index,
        )  # fmt: skip
        return count * len(index)

    everything = torch.arange(len(images), device=images.device)
    left = (steps - opening) * len(images)
    if left:
        left -= again(everything, nearest(worst.logits, labels)[:, 0], opening)
    standing = worst.standing()
    prices = torch.full((len(images), aims.shape[1]), torch.inf, device=images.device)
    if len(standing) and left >= 2 * prices.shape[1] * len(standing):
        given = (model, images[standing], labels[standing], aims[standing])
        prices[standing] = _distances(*given, targeted=targeted, threat_model=threat_model)
        left -= prices.shape[1] * len(standing)
    else:
        prices[standing] = torch.arange(prices.shape[1], dtype=prices.dtype, device=images.device)
    runs = torch.zeros_like(everything)
    for _ in range(rounds):
        remaining = prices.clone()
        while left >= length and len(chosen := _cheapest(worst, remaining, most=left // length)):
            column = remaining[chosen].argmin(1)
            left -= again(chosen, aims[chosen, column], length, anew=runs[chosen] % 2 == 1)
            remaining[chosen, column] = torch.inf
            runs[chosen] += 1
    if left >= len(images):
        again(everything, nearest(worst.logits, labels)[:, 0], left // len(images))
    return worst.images


def _distances(
    model: nn.Module, images: Tensor, labels: Tensor, aims: Tensor, *, targeted: bool, threat_model: ThreatModel
) -> Tensor:
    """What each aim (N, classes) misses at the images, over what it can gain in the ball if the model is linear."""
    prices = []
    for aim in aims.unbind(1):
        gradient, lead, _ = look(model, images, labels, margin, aims=None if targeted else aim, targeted=targeted)
        gain = ball.linear_gain(images, images, gradient, threat_model=threat_model)
        prices.append((-lead / gain.clamp_min(_LEAST)).clamp_max(1 / _LEAST))
    return torch.stack(prices, 1)


def _cheapest(worst: Worst, prices: Tensor, *, most: int) -> Tensor:
    """Images for the next run: at most `most` standing ones, and at most a part of them, by price; ascending indices.

    prices: (N, classes), infinite where there is nothing to try.
    """
    index = worst.standing()
    count = min(most, -(-len(index) // _PART))
    lowest = prices[index].amin(1)
    index = index[lowest.argsort(stable=True)][: min(count, int(lowest.isfinite().sum()))]
    return index.sort().values
