"""Makes an optimiser, a schedule and a weighted loss from a recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from skinaudit.trainer.recipes import Recipe

Schedule = LambdaLR | ReduceLROnPlateau

_RISE = 0.25
"""Share of a cycle in which the learning rate rises."""
_FIRST, _LAST = 1 / 25, 1 / 250_000
"""Factors on the learning rate at both ends of a cycle, as in torch's OneCycleLR."""


def build_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser for all weights that require gradients."""
    # Weight decay is for weights of convolutions and linear layers, not for biases and batch norm, which are
    # one-dimensional.
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    free = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    fused = True if (decayed + free)[0].device.type == "cuda" else None  # one kernel for all weights
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(recipe.momentum, 0.999), fused=fused)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, fused=fused)


def build_schedule(optimiser: torch.optim.Optimizer, recipe: Recipe, *, steps: int, warm_up: int = 0) -> Schedule:
    """The recipe's learning rate over `steps` optimiser steps in all.

    The first `warm_up` steps have their own cycle, so training on clean images ends before hardening begins.
    """
    if recipe.schedule == "plateau":
        return ReduceLROnPlateau(optimiser, mode="max", factor=recipe.factor, patience=recipe.patience - 1)

    def factor(step: int) -> float:
        done, length = (step, warm_up) if step < warm_up else (step - warm_up, steps - warm_up)
        return one_cycle(done, steps=length)

    return LambdaLR(optimiser, factor)


def one_cycle(step: int, *, steps: int) -> float:
    """Factor on the learning rate at a step, from 0, of a cycle of `steps`: rises in the first quarter, then falls.

    Both parts are half a cosine, step for step as in torch's OneCycleLR, which cannot do cycles of less than five steps.
    Smith & Topin 2018, https://arxiv.org/abs/1708.07120.
    """
    top = max(_RISE * steps - 1, _RISE)
    if step < top:
        return _between(_FIRST, 1.0, step / top)
    return _between(1.0, _LAST, min(1.0, (step - top) / (steps - 1 - top)) if steps > 1 else 1.0)


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def moving_average(model: nn.Module) -> AveragedModel:
    """A copy of `model` whose weights and running statistics `follow` updates."""
    return AveragedModel(model, use_buffers=True)


@torch.no_grad()
def follow(average: AveragedModel, model: nn.Module, *, decay: float, tail: int | None = None) -> None:
    """Move the weights and running statistics of `average` towards those of `model`.

    After t updates, the average keeps a share of the smaller of `decay` and (1 + t) / (10 + t), so that a short training is
    not averaged with its random start. Averaging smooths the steps of adversarial training: Gowal et al. 2020,
    https://arxiv.org/abs/2010.03593, section 4.3. tail: if given, the average equals the model for this number of updates,
    and is then the equal average of all later ones (stochastic weight averaging, Izmailov et al. 2018,
    https://arxiv.org/abs/1803.05407, but at every step and with the schedule's learning rate). AveragedModel's own update is
    not used, because it reads its counter from the device twice.
    """
    updates = int(average.n_averaged)  # on the CPU
    pairs = zip(average.module.state_dict().values(), model.state_dict().values(), strict=True)
    floating: tuple[list[Tensor], list[Tensor]] = ([], [])
    for ours, theirs in pairs:
        if updates and ours.is_floating_point():
            floating[0].append(ours)
            floating[1].append(theirs)
        else:  # batch norm's count of batches, and everything at the first update
            ours.copy_(theirs)
    if floating[0]:
        share = 1 - min(decay, (1 + updates) / (10 + updates)) if tail is None else 1 / max(1, updates - tail + 1)
        torch._foreach_lerp_(*floating, share)
    average.n_averaged += 1


def tail_of(recipe: Recipe, *, steps: int) -> int | None:
    """Number of the `steps` updates after which weights are averaged equally; None if they are not."""
    return steps - max(1, round(recipe.swa * steps)) if recipe.swa else None


def class_weights(labels: NDArray[np.int64], *, classes: Sequence[str], recipe: Recipe) -> Tensor:
    """Weights float32 (classes,): the class's cost times n_c^-class_weighting, scaled to a mean of 1 over the images.

    labels: int64 (N,), of the training images.
    """
    counts = np.bincount(labels, minlength=len(classes))
    weights = counts.clip(min=1).astype(float) ** -recipe.class_weighting
    weights *= [recipe.class_costs.get(name, 1.0) for name in classes]
    weights *= len(labels) / (weights * counts).sum()
    return torch.tensor(weights, dtype=torch.float32)
