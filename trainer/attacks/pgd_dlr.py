"""PGD that spends gradients on the images that it may still break. It uses as many gradients as PGD with the same steps.

Every image gets one run on the cross-entropy and one towards the nearest wrong class. The remaining gradients go to the
images that still stand: longer runs towards one wrong class after another, first for the images that are nearest to
breaking. These runs start alternately at the worst point so far and at a random point.

The parts are known: large first steps with momentum, and the loss for targets, are from Croce and Hein 2020
(https://arxiv.org/abs/2003.01690); one target after another is from Gowal et al. 2019 (https://arxiv.org/abs/1910.09338).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.climb import FIRST_STEP, climb
from skinaudit.trainer.ascent.look import Worst, answer
from skinaudit.trainer.ascent.losses import cross_entropy, dlr, margin, nearest, scaled_margin
from skinaudit.trainer.attack_trace import AttackTrace

_FURTHER_FIRST_STEP = 1.0
"""Size of the first step, as a share of eps, of a run that starts at the worst point so far."""
_PART = 4
"""If the gradients are not enough for all standing images, a run attacks one in this many of them."""
_ROUNDS = 2
"""Largest number of runs towards each wrong class for one image."""

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
    ratio towards the nearest wrong class, and half goes to the images that still stand. Steps that are left when no image
    stands or all have had enough go to all images. Returns for each image the point of greatest margin that was evaluated,
    inside ball and box, float32. No loss depends on the scale of the logits. The model must be in evaluation mode. Raises
    InvalidInputError for settings out of range.
    """
    if steps < 1 or not 0 < momentum <= 1:
        raise InvalidInputError(
            f"pgd-dlr: steps {steps}, momentum {momentum}: give at least one step, and a momentum in (0, 1]"
        )
    before = answer(model, images)
    opening, length = max(1, steps // 4), max(1, steps // 2)
    others = before.shape[1] - 1
    worst = Worst(images, labels, targeted=targeted, trace=trace)
    if trace is not None:
        rounds = [opening, opening] + [length] * (_ROUNDS * others + 1)
        trace.open(len(images), stages=rounds, device=images.device)
    climb(
        model, images, labels, worst=worst, steps=opening, threat_model=threat_model, momentum=momentum,
        start=ball.start(images, threat_model=threat_model, generator=generator), loss=cross_entropy, targeted=targeted,
        first_step=FIRST_STEP,
    )  # fmt: skip

    def again(index: Tensor, rank: Tensor, count: int, *, anew: Tensor | None = None) -> int:
        """One more run of `count` steps for these images towards the wrong class of this rank; returns the gradients used.

        anew: bool (n,), which of them start at a random point.
        """
        begin = worst.images[index]
        if anew is not None and bool(anew.any()):
            begin[anew] = ball.start(images[index[anew]], threat_model=threat_model, generator=generator)
        aims = nearest(worst.logits, labels)[index].gather(1, rank.view(-1, 1)).squeeze(1)
        climb(
            model, images[index], labels[index], worst=worst, start=begin, steps=count, momentum=momentum,
            threat_model=threat_model, loss=scaled_margin if targeted else dlr, aims=None if targeted else aims,
            targeted=targeted, first_step=_FURTHER_FIRST_STEP, index=index,
        )  # fmt: skip
        return count * len(index)

    everything = torch.arange(len(images), device=images.device)
    left = (steps - opening) * len(images)
    if left:
        left -= again(everything, torch.zeros_like(everything), opening)
    lead = margin(before, labels)
    origin = -lead if targeted else lead
    runs = torch.zeros_like(everything)
    while left >= length and len(chosen := _promising(worst, origin, runs, most=left // length, limit=_ROUNDS * others)):
        left -= again(chosen, runs[chosen] % others, length, anew=runs[chosen] % 2 == 1)
        runs[chosen] += 1
    if left >= len(images):
        again(everything, torch.zeros_like(everything), left // len(images))
    return worst.images


def _promising(worst: Worst, origin: Tensor, runs: Tensor, *, most: int, limit: int) -> Tensor:
    """Images for the next run: at most `most` standing images with fewer than `limit` runs; ascending indices.

    First come the images whose missing margin is small compared with the margin gained since the clean image, `origin` (N,).
    Earlier runs that did not break an image, `runs` (N,), count against it.
    """
    index = worst.standing()
    index = index[runs[index] < limit]
    if len(index) > most:
        index_count = min(most, -(-len(index) // _PART))
        gained = (worst.margin - origin)[index].clamp_min(torch.finfo(origin.dtype).tiny)
        price = -worst.margin[index] / gained * (1 + _ROUNDS * runs[index] / limit)
        index = index[price.argsort(stable=True)[:index_count]].sort().values
    return index
