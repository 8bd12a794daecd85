"""PGD that spends its gradients where they may still help; it takes as many as PGD with the same steps.

Every image gets a run up the cross-entropy and one towards the nearest wrong class. The other gradients go to the images
that stand: longer runs towards one wrong class after the other, first for the images that are nearest to breaking. They
begin at the worst point so far and at a random one in turns.

Its parts are known: large first steps with momentum and the loss for targets are of Croce and Hein 2020
(https://arxiv.org/abs/2003.01690), one target after the other is of Gowal et al. 2019 (https://arxiv.org/abs/1910.09338).
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
"""Size of the first step of a run that begins at the worst point so far, as a share of eps."""
_PART = 4
"""Where the gradients do not last for all images that stand, a run takes one in this many of them."""
_ROUNDS = 2
"""Runs towards each wrong class at most, for one image."""

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
    """Climb from a random point, then mostly from the worst one. steps: gradients per image, on the average of the call.

    images: float32 (N, 3, H, W) in [0, 1]. labels: int64 (N,), the truth, or the class to reach where `targeted` (then every
    run climbs towards it). momentum: as `climb` has it. A quarter of the steps climbs the cross-entropy, a quarter the ratio
    towards the nearest wrong class, and half goes to images that stand; what is left once they have had enough, or none
    stands, goes to all. Returns per image the point of greatest margin met anywhere, inside ball and box, float32 like
    images. No loss depends on the scale of the logits. The model must be in evaluation mode. Raises InvalidInputError on
    settings out of range.
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
        """One more run of `count` steps for these images, towards the wrong class of this rank; returns the gradients.

        anew: bool (n,), which of them begin at a random point.
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
    """The images for the next run: at most `most` that stand and have had fewer than `limit`; ascending indices.

    Those come first whose missing margin is small beside what the attack has gained on the clean image's, `origin` (N,);
    `runs` (N,) that did not break an image count against it.
    """
    index = worst.standing()
    index = index[runs[index] < limit]
    if len(index) > most:
        index_count = min(most, -(-len(index) // _PART))
        gained = (worst.margin - origin)[index].clamp_min(torch.finfo(origin.dtype).tiny)
        price = -worst.margin[index] / gained * (1 + _ROUNDS * runs[index] / limit)
        index = index[price.argsort(stable=True)[:index_count]].sort().values
    return index
