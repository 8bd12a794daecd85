"""PGD in four runs of ten steps: one up the cross-entropy, then one towards each of the three nearest wrong classes.

Each run after the first begins at the worst point so far. It takes as many gradients as PGD-40. Its parts are known: large
first steps with momentum and the loss for targets are of Croce and Hein 2020 (https://arxiv.org/abs/2003.01690), one target
after the other is of Gowal et al. 2019 (https://arxiv.org/abs/1910.09338).
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
from skinaudit.trainer.ascent.losses import cross_entropy, dlr, nearest, scaled_margin
from skinaudit.trainer.attack_trace import AttackTrace

_FURTHER_FIRST_STEP = 1.0
"""Size of the first step of a run that begins at the worst point so far, as a share of eps."""

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
    """Climb 1 + `targets` times, first from a random start; `steps` are all gradients together, divided evenly.

    images: float32 (N, 3, H, W) in [0, 1]. labels: int64 (N,), the truth, or the class to reach where `targeted` (then every
    run climbs towards it). targets: wrong classes to climb towards, fewer where the model has fewer. momentum: as `climb`
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
    for number, length in enumerate(lengths):
        aims = nearest(worst.logits, labels)[:, number - 1] if number and not targeted else None
        climb(
            model, images, labels, worst=worst, steps=length, threat_model=threat_model, momentum=momentum, aims=aims,
            start=worst.images.clone() if number else ball.start(images, threat_model=threat_model, generator=generator),
            loss=later if number else cross_entropy, first_step=_FURTHER_FIRST_STEP if number else FIRST_STEP,
            targeted=targeted,
        )  # fmt: skip
    return worst.images
