"""PGD in four starts of ten steps: one up the cross-entropy, then one towards each of the three nearest wrong classes.

It takes as many gradients as PGD-40. Its parts are known: large first steps with momentum and the loss for targets are of
Croce and Hein 2020 (https://arxiv.org/abs/2003.01690), one target after the other is of Gowal et al. 2019
(https://arxiv.org/abs/1910.09338).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.climb import climb
from skinaudit.trainer.ascent.look import Worst, answer
from skinaudit.trainer.ascent.losses import cross_entropy, dlr, nearest, scaled_margin
from skinaudit.trainer.attack_trace import AttackTrace

SETTINGS: dict[str, Any] = {"steps": 40, "targets": 3, "momentum": 0.75, "targeted": False}


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int = 40,
    targets: int = 3,
    momentum: float = 0.75,
    targeted: bool = False,
    trace: AttackTrace | None = None,
) -> Tensor:
    """Climb from 1 + `targets` random starts; `steps` are all gradients together, divided evenly among the starts.

    images: float32 (N, 3, H, W) in [0, 1]. labels: int64 (N,), the truth, or the class to reach where `targeted` (then every
    start climbs towards it). targets: wrong classes to climb towards, fewer where the model has fewer. momentum: as `climb`
    has it. Returns per image the point of greatest margin met anywhere, inside ball and box, float32 like images. No loss
    depends on the scale of the logits. The model must be in evaluation mode. Raises InvalidInputError on settings out of
    range.
    """
    if steps < 1 + targets or targets < 0 or not 0 < momentum <= 1:
        raise InvalidInputError(
            f"pgd-dlr: steps {steps}, targets {targets}, momentum {momentum}: needs a step for each start and a momentum "
            "above 0 and at most 1"
        )
    starts = 1 + min(targets, answer(model, images[:1]).shape[1] - 1)
    lengths = [steps // starts + (number < steps % starts) for number in range(starts)]
    worst = Worst(images, labels, targeted=targeted, trace=trace)
    if trace is not None:
        trace.open(len(images), stages=lengths, device=images.device)
    later = scaled_margin if targeted else dlr
    order = labels.view(-1, 1)  # of no use before the first start is done
    for number, length in enumerate(lengths):
        if number == 1:
            order = nearest(worst.logits, labels)
        aims = order[:, number - 1] if number and not targeted else None
        climb(
            model, images, labels, worst=worst, start=ball.start(images, threat_model=threat_model, generator=generator),
            steps=length, loss=later if number else cross_entropy, threat_model=threat_model, momentum=momentum, aims=aims,
            targeted=targeted,
        )  # fmt: skip
    return worst.images
