"""Auto-PGD from several starts or towards several classes, for the attack files."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.adaptive import adapt
from skinaudit.trainer.ascent.look import Worst, answer
from skinaudit.trainer.ascent.losses import Loss, dlr, nearest
from skinaudit.trainer.attack_trace import AttackTrace


def check_counts(name: str, **counts: int) -> None:
    """Raise InvalidInputError unless every count is at least 1."""
    if any(count < 1 for count in counts.values()):
        raise InvalidInputError(f"{name}: {', '.join(f'{key} {count}' for key, count in counts.items())}: must be positive")


def from_starts(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    loss: Loss,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int,
    restarts: int,
    targeted: bool,
    stop_margin: float | None,
    trace: AttackTrace | None,
) -> Tensor:
    """Auto-PGD with `steps` steps from each of `restarts` random starts. Broken images are not started again.

    Shapes and returned value as in pgd_dlr; stop_margin as in `adapt`.
    """
    worst = Worst(images, labels, targeted=targeted, trace=trace)
    if trace is not None:
        trace.open(len(images), stages=[steps] * restarts, device=images.device)
    for _ in range(restarts):
        climb_standing(
            model, images, labels, worst=worst, loss=loss, threat_model=threat_model, generator=generator, steps=steps,
            targeted=targeted, stop_margin=stop_margin,
        )  # fmt: skip
    return worst.images


def towards_classes(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    worst: Worst,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int,
    targets: int,
    stop_margin: float | None = None,
    settle: float | None = None,
) -> None:
    """Auto-PGD towards each of the nearest `targets` wrong classes in turn. Broken images leave after each class."""
    order = nearest(answer(model, images), labels)
    for aims in order[:, :targets].unbind(1):
        climb_standing(
            model, images, labels, worst=worst, loss=dlr, threat_model=threat_model, generator=generator, steps=steps,
            aims=aims, stop_margin=stop_margin, settle=settle,
        )  # fmt: skip


def climb_standing(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    worst: Worst,
    loss: Loss,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int,
    aims: Tensor | None = None,
    targeted: bool = False,
    stop_margin: float | None = None,
    settle: float | None = None,
) -> None:
    """One run of Auto-PGD from random starts for those of the N images that are not broken yet."""
    index = worst.standing()
    if not len(index):
        return
    clean = images[index]
    adapt(
        model, clean, labels[index], worst=worst, index=index,
        start=ball.start(clean, threat_model=threat_model, generator=generator), steps=steps, loss=loss,
        threat_model=threat_model, aims=None if aims is None else aims[index], targeted=targeted, stop_margin=stop_margin,
        settle=settle,
    )  # fmt: skip
