"""Projected gradient descent (Madry et al. 2018, https://arxiv.org/abs/1706.06083): start, gradient, step, project."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.look import pieces_of
from skinaudit.trainer.ascent.losses import Loss, dlr, margin, smooth_lead
from skinaudit.trainer.ascent.settling import SURE, by_smooth_lead
from skinaudit.trainer.ascent.starts import check_measuring
from skinaudit.trainer.attack_trace import AttackTrace

SETTINGS: dict[str, Any] = {
    "steps": 40,
    "loss": "cross-entropy",
    "step_size": None,
    "schedule": "constant",
    "random_start": True,
    "restarts": 1,
    "targeted": False,
    "keep": "worst",
    "stop_margin": None,
    "settle": None,
}

_COMPACT = 0.9
"""Finished images leave the loop once they are a tenth of it, because each new batch size needs preparation."""

Schedule = Literal["constant", "cosine"]

_LOSSES: dict[str, Loss | None] = {"cross-entropy": None, "margin": margin, "dlr": dlr}

_SMALLEST = 0.05
"""Last step of the schedule `cosine`, as a share of the first."""

_SETTLING = 4
"""Steps between two checks for settled images. A check costs several percent of a step."""

_LEAST_LOSS = 1e-6
"""Smallest cross-entropy that is followed; below it the attack follows the smooth lead, which has the same direction.

Softmax rounds the true class's probability towards 1 and loses part of the gradient; in float32 it loses all of it once the
true logit leads by about 100.
"""

_SUCCESS = 1e6  # added to the loss of a successful example, so that it ranks above every unsuccessful one


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int = 40,
    loss: Literal["cross-entropy", "margin", "dlr"] = "cross-entropy",
    step_size: float | None = None,
    schedule: Schedule = "constant",
    random_start: bool = True,
    restarts: int = 1,
    targeted: bool = False,
    keep: Literal["worst", "last"] = "worst",
    stop_margin: float | None = None,
    settle: float | None = None,
    trace: AttackTrace | None = None,
    ascended: Loss | None = None,
) -> Tensor:
    """Increase a loss in `steps` projected steps from each of `restarts` starts, using the full budget.

    images: float32 (N, 3, H, W) in [0, 1]. labels: int64 (N,), the true classes, or the target classes if `targeted` (the
    loss is then decreased). loss: `cross-entropy`, or `margin` or `dlr`, which ignore the scale of the logits. schedule:
    `constant` steps, or steps that fall as a cosine from the first to a twentieth of it. step_size: of the first step, in
    pixel units; None for 2.5 eps / steps, Madry's rule, or with `cosine` for 2 eps. keep: `worst` returns for each image
    the successful example with the greatest cross-entropy of all points (the greatest cross-entropy if none succeeds).
    `last` returns the end of the last start and needs one forward pass less. stop_margin: if given, an image leaves the
    loop when a wrong logit (the target's if `targeted`) leads by more. This measures robust accuracy much faster, but such
    examples lie near the boundary and must not be stored. settle: only with stop_margin. After a fifth of the steps an
    image then also leaves if it would stay right even if the rest of the ball gave `settle` times the gain that the gradient
    predicts; see `ascent.settling`. Such examples are not the worst ones and must not be stored either. trace: records the
    course of the attack; costs one forward pass more with `last`; not allowed with stop_margin. ascended: another loss to
    increase, for training, only with `last`; `labels` is then whatever this loss needs for each image. Returns float32
    (N, 3, H, W) inside the ball and the box. The model must be in evaluation mode. Raises InvalidInputError for settings out
    of range.
    """
    if steps < 1 or restarts < 1 or (step_size is not None and step_size <= 0):
        raise InvalidInputError(f"pgd: steps {steps}, restarts {restarts}, step_size {step_size}: must be positive")
    if loss not in _LOSSES or (settle is not None and loss != "cross-entropy"):
        raise InvalidInputError(f"pgd: loss {loss!r}: choose {', '.join(_LOSSES)}; with settle only cross-entropy")
    if schedule not in get_args(Schedule):
        raise InvalidInputError(f"pgd: schedule {schedule!r}: choose {' or '.join(get_args(Schedule))}")
    if keep not in ("worst", "last") or (keep == "last" and stop_margin is not None):
        raise InvalidInputError(f"pgd: keep {keep!r}: choose worst or last; with stop_margin only worst")
    check_measuring("pgd", settle, stop_margin=stop_margin, trace=trace, targeted=targeted)
    if ascended is not None and (keep != "last" or targeted or trace is not None):
        raise InvalidInputError("pgd: another loss needs keep=last, no targets and no trace")
    if trace is not None:
        if stop_margin is not None:
            raise InvalidInputError("pgd: a trace records the full budget; leave stop_margin out")
        trace.open(len(images), stages=[steps] * restarts, device=images.device)
    followed = _LOSSES[loss]
    sizes = _sizes(schedule, step_size, steps=steps, eps=threat_model.eps)
    adversarial = images.clone()
    best = torch.full((len(images),), -torch.inf, dtype=torch.float64, device=images.device)
    standing = torch.ones(len(images), dtype=torch.bool, device=images.device)
    for _ in range(restarts):
        index = standing.nonzero().squeeze(1)
        if not len(index):
            break
        clean, truth = images[index], labels[index]
        moved = ball.start(clean, threat_model=threat_model, generator=generator) if random_start else clean
        first = largest = torch.empty(0)  # leads of the images in the loop
        bounds = _bounds(clean, threat_model)
        for number, size in enumerate(sizes):
            gradient, entropy, lead = input_gradient(
                model, moved, truth, targeted=targeted, ascended=ascended, followed=followed
            )
            _note(trace, entropy, lead, gradient, targeted=targeted)
            if keep == "worst":
                adversarial, best = _record(adversarial, best, index, moved, entropy, lead)
            if stop_margin is not None:
                first, largest = (first, torch.maximum(largest, lead)) if number else (lead, lead)
                going = lead <= stop_margin
                standing[index[~going]] = False
                if settle is not None and number >= SURE * steps and number % _SETTLING == 0:
                    gain = ball.linear_gain(moved, clean, gradient, threat_model=threat_model)
                    smooth, gain = _of_smooth_lead(entropy, gain)
                    going &= ~by_smooth_lead(smooth, gain, first=first, largest=largest, share=settle)
                remaining = int(going.sum())
                if remaining == 0:
                    break
                if remaining <= _COMPACT * len(index):
                    clean, truth, index = clean[going], truth[going], index[going]
                    first, largest = first[going], largest[going]
                    moved, gradient, bounds = moved[going], gradient[going], _bounds(clean, threat_model)
            moved = ball.step(moved, gradient, threat_model=threat_model, size=size)
            moved = ball.project(moved, clean, threat_model=threat_model, bounds=bounds)
        else:
            if keep == "worst" or trace is not None:
                entropy, lead = _outcome(model, moved, truth, targeted=targeted)
                _note(trace, entropy, lead, None, targeted=targeted)
            if keep == "worst":
                adversarial, best = _record(adversarial, best, index, moved, entropy, lead)
            else:
                adversarial[index] = moved
    return adversarial


def input_gradient(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    targeted: bool = False,
    ascended: Loss | None = None,
    followed: Loss | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient (N, 3, H, W) of the loss to increase, this loss (N,), and the lead (N,) of a wrong or the target logit.

    The loss is the cross-entropy, negated if `targeted`. If its size is below _LEAST_LOSS, loss and gradient are those of
    the smooth lead, which increases with the cross-entropy. ascended: another loss instead; the lead is then returned as 0.
    followed: a loss whose gradient is returned in place of the cross-entropy's.
    """
    pieces = pieces_of(images)
    results = []
    for part, truth in zip(images.chunk(pieces), labels.chunk(pieces), strict=True):
        with torch.enable_grad():
            # The leaf stays NCHW: normalising is faster in this order, and a channels-last convolution converts it itself.
            leaf = part.detach().requires_grad_()
            logits = model(leaf)
            loss = _loss(logits, truth, targeted=targeted) if ascended is None else ascended(logits, truth, None)
            climbed = loss if followed is None else followed(logits, truth, None) * (-1 if targeted else 1)
            gradient = torch.autograd.grad(climbed.sum(), leaf)[0]
        lead = _lead(logits.detach(), truth, targeted=targeted) if ascended is None else torch.zeros_like(loss)
        results.append((gradient, loss.detach(), lead))
    if len(results) == 1:
        return results[0]
    gradients, losses, leads = zip(*results, strict=True)
    return torch.cat(gradients), torch.cat(losses), torch.cat(leads)


def _sizes(schedule: Schedule, first: float | None, *, steps: int, eps: float) -> list[float]:
    """The size of each step."""
    if schedule == "constant":
        return [2.5 * eps / steps if first is None else first] * steps
    fall = [(1 + math.cos(math.pi * number / max(1, steps - 1))) / 2 for number in range(steps)]
    return [(2 * eps if first is None else first) * (_SMALLEST + (1 - _SMALLEST) * share) for share in fall]


def _of_smooth_lead(loss: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """The smooth lead (N,), and its gain, from the cross-entropy log(1 + exp(lead)) and the gain of that."""
    saturated = loss <= _LEAST_LOSS  # there the loss is the smooth lead itself
    smooth = torch.where(saturated, loss.double(), loss.double().expm1().log())
    return smooth, torch.where(saturated, gain, gain / -torch.expm1(-loss))


@torch.no_grad()
def _outcome(model: nn.Module, images: Tensor, labels: Tensor, *, targeted: bool) -> tuple[Tensor, Tensor]:
    logits = model(images.contiguous(memory_format=torch.channels_last))
    return _loss(logits, labels, targeted=targeted), _lead(logits, labels, targeted=targeted)


def _bounds(images: Tensor, threat_model: ThreatModel) -> ball.Bounds | None:
    return ball.linf_bounds(images, threat_model=threat_model) if threat_model.norm == "linf" else None


def _loss(logits: Tensor, labels: Tensor, *, targeted: bool) -> Tensor:
    loss = functional.cross_entropy(logits, labels, reduction="none")
    saturated = loss.detach() <= _LEAST_LOSS
    if loss.device.type != "cpu" or saturated.any():  # on a GPU, a check costs more than computing both
        # If all other logits are -inf, -inf in place of the true logit would give NaN gradients; there are no gradients
        # then.
        loss = torch.where(saturated, smooth_lead(logits, labels), loss)
    return -loss if targeted else loss


def _note(trace: AttackTrace | None, loss: Tensor, lead: Tensor, gradient: Tensor | None, *, targeted: bool) -> None:
    """Report one evaluation to the trace, with the loss as the smooth lead in both cases."""
    if trace is None:
        return
    own = (-loss if targeted else loss).double()
    saturated = own <= _LEAST_LOSS
    # log(exp(own) - 1) without overflow
    smooth = torch.where(saturated, own, own + torch.log(-torch.expm1(-own.clamp_min(_LEAST_LOSS))))
    trace.note(-smooth if targeted else smooth, lead > 0, gradient, saturated)


def _lead(logits: Tensor, labels: Tensor, *, targeted: bool) -> Tensor:
    own = logits.gather(1, labels.view(-1, 1)).squeeze(1)
    wrong = logits.scatter(1, labels.view(-1, 1), -torch.inf).amax(1)
    return own - wrong if targeted else wrong - own


def _record(
    adversarial: Tensor, best: Tensor, index: Tensor, moved: Tensor, loss: Tensor, lead: Tensor
) -> tuple[Tensor, Tensor]:
    """`adversarial` and its ranks `best`, replaced by `moved` where it ranks higher. index: the images of `moved`."""
    rank = loss.double() + _SUCCESS * (lead > 0)  # float32 would round the losses of successful examples to sixteenths
    better = rank > best[index]
    if len(index) == len(adversarial):  # all are still in the loop, so images need not be gathered and scattered
        if moved.device.type == "cpu" and better.all():
            return moved, rank
        kept = torch.where(better.view(-1, 1, 1, 1), moved, adversarial)
        return kept, torch.where(better, rank, best)
    adversarial[index[better]] = moved[better]
    best[index[better]] = rank[better]
    return adversarial, best
