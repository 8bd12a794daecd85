"""Auto-PGD from several starts or towards several classes, for the attack files."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.adaptive import adapt
from skinaudit.trainer.ascent.look import Worst, answer
from skinaudit.trainer.ascent.losses import Loss, dlr, nearest
from skinaudit.trainer.ascent.settling import Rule
from skinaudit.trainer.attack_trace import AttackTrace

_PIXELS_AT_ONCE = 600 * 64 * 64
"""Pixels of one run towards several classes at once: about 30 MB for each tensor that the run keeps."""


def check_counts(name: str, **counts: int) -> None:
    """Raise InvalidInputError unless every count is at least 1."""
    if any(count < 1 for count in counts.values()):
        raise InvalidInputError(f"{name}: {', '.join(f'{key} {count}' for key, count in counts.items())}: must be positive")


def check_measuring(
    name: str, settle: float | None, *, stop_margin: float | None, trace: AttackTrace | None, targeted: bool = False
) -> None:
    """Raise InvalidInputError if `settle` cannot be used with these settings."""
    if settle is not None and (stop_margin is None or not 1 <= settle < math.inf or targeted or trace is not None):
        raise InvalidInputError(
            f"{name}: settle {settle}: give a number from 1 on, together with stop_margin, without a trace"
            + " and without targeted" * targeted
        )


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
    settle: float | None,
    rule: Rule,
    trace: AttackTrace | None,
) -> Tensor:
    """Auto-PGD with `steps` steps from each of `restarts` random starts. Broken images are not started again.

    Shapes and returned value as in pgd_dlr; stop_margin, settle and rule as in `adapt`.
    """
    worst = Worst(images, labels, targeted=targeted, trace=trace)
    if trace is not None:
        trace.open(len(images), stages=[steps] * restarts, device=images.device)
    for _ in range(restarts):
        climb_standing(
            model, images, labels, worst=worst, loss=loss, threat_model=threat_model, generator=generator, steps=steps,
            targeted=targeted, stop_margin=stop_margin, settle=settle, rule=rule,
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
    rule: Rule | None = None,
) -> None:
    """Auto-PGD towards each of the nearest `targets` wrong classes; see `standing_pairs`.

    settle, rule: see `adapt`. With settle and without rule, all classes of an image are attacked at once.
    """
    order = nearest(answer(model, images), labels)[:, :targets]
    at_once = worst.standing() if settle is not None and rule is None else None
    for index, aims in standing_pairs(worst, order, at_once=at_once):
        _climb_from_random(
            model, images, labels, index, worst=worst, loss=dlr, threat_model=threat_model, generator=generator, steps=steps,
            aims=aims, stop_margin=stop_margin, settle=settle, rule=rule,
        )  # fmt: skip


def standing_pairs(worst: Worst, order: Tensor, *, at_once: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Images by index (n,), each with a target class (n,), for one run of an attack after another.

    order: (N, targets), the target classes of each image. The first run leads all unbroken images to their first class, the
    second run those that are still unbroken to their second class, and so on. at_once: if given, the indices of the images
    that take part. A run then leads each of them to all of its classes, so that batches are large.
    """
    if at_once is None:
        for aims in order.unbind(1):
            index = worst.standing()
            if len(index):
                yield index, aims[index]
    else:
        targets = order.shape[1]
        size = max(1, _PIXELS_AT_ONCE // (targets * worst.images[0, 0].numel()))
        for first in range(0, len(at_once), size):
            index = at_once[first : first + size]
            yield index.repeat_interleave(targets), order[index].flatten()


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
    targeted: bool = False,
    stop_margin: float | None = None,
    settle: float | None = None,
    rule: Rule | None = None,
) -> None:
    """One run of Auto-PGD from random starts for those of the N images that are not broken yet."""
    index = worst.standing()
    if len(index):
        _climb_from_random(
            model, images, labels, index, worst=worst, loss=loss, threat_model=threat_model, generator=generator,
            steps=steps, targeted=targeted, stop_margin=stop_margin, settle=settle, rule=rule,
        )  # fmt: skip


def _climb_from_random(
    model: nn.Module, images: Tensor, labels: Tensor, index: Tensor, *, worst: Worst, loss: Loss, threat_model: ThreatModel,
    generator: torch.Generator, steps: int, aims: Tensor | None = None, targeted: bool = False, stop_margin: float | None,
    settle: float | None, rule: Rule | None,
) -> None:  # fmt: skip
    clean = images[index]
    adapt(
        model, clean, labels[index], worst=worst, index=index,
        start=ball.start(clean, threat_model=threat_model, generator=generator), steps=steps, loss=loss,
        threat_model=threat_model, aims=aims, targeted=targeted, stop_margin=stop_margin, settle=settle, rule=rule,
    )  # fmt: skip
