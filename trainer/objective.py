"""The training loss: weighted cross-entropy, optionally with smoothed labels or adjusted logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from skinaudit.trainer.optimisation import class_weights
from skinaudit.trainer.recipes import Recipe


@dataclass(frozen=True, eq=False)
class Objective:
    """A cross-entropy of logits (N, classes) and labels int64 (N,).

    weights: float32 (classes,), one factor per class. smoothing: share of each label that is spread over all classes
    (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567). offsets: float32 (classes,), added to the logits in training
    only; None for none.
    """

    weights: Tensor
    smoothing: float = 0.0
    offsets: Tensor | None = None

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The weighted mean over the batch: a scalar."""
        return functional.cross_entropy(
            self.adjusted(logits), labels, weight=self.weights, label_smoothing=self.smoothing
        )  # fmt: skip

    def adjusted(self, logits: Tensor) -> Tensor:
        """The logits with the offsets, as training compares them."""
        return logits if self.offsets is None else logits + self.offsets

    def share(self, labels: Tensor, of: Tensor) -> Tensor:
        """The weight of a part of a batch in the mean over the batch, from their labels: a scalar."""
        return self.weights[labels].sum() / self.weights[of].sum()

    def mean(self, values: Tensor, labels: Tensor) -> Tensor:
        """Mean of values (N,) with the weights of their classes, as in the cross-entropy: a scalar."""
        weights = self.weights[labels]
        return (weights * values).sum() / weights.sum()


def build_objective(
    labels: NDArray[np.int64], *, classes: Sequence[str], recipe: Recipe, device: torch.device
) -> Objective:  # fmt: skip
    """The recipe's loss for training images with these labels, int64 (N,)."""
    weights = class_weights(labels, classes=classes, recipe=recipe).to(device)
    offsets = None
    if recipe.logit_adjustment:
        offsets = logit_offsets(labels, classes=len(classes), strength=recipe.logit_adjustment).to(device)
    return Objective(weights, recipe.label_smoothing, offsets)


def logit_offsets(labels: NDArray[np.int64], *, classes: int, strength: float) -> Tensor:
    """`strength` times the logarithm of each class's share of the labels: float32 (classes,).

    If these are added to the logits in training, the largest of the remaining logits is the best answer for balanced
    accuracy (Menon et al. 2021, https://arxiv.org/abs/2007.07314, section 4.2; the strength is called tau there). A class
    without images counts as one image.
    """
    counts = np.bincount(labels, minlength=classes).clip(min=1)
    return torch.tensor(strength * np.log(counts / counts.sum()), dtype=torch.float32)
