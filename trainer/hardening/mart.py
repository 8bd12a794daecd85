"""MART (Wang et al. 2020, https://openreview.net/forum?id=rklOg6EFwS): misclassified images have more weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from skinaudit.trainer.hardening.trades import divergence
from skinaudit.trainer.inner_attack import Batch

SETTINGS: Mapping[str, Any] = {"beta": 5.0}
STEPS: int | None = None
MIXES = False

_ABOVE_1 = 1.0001
"""The authors' own value. It keeps the logarithm finite if a wrong class has all the probability."""


def perturb(batch: Batch, *, beta: float) -> Tensor:
    """The images that PGD finds with the cross-entropy, as in Madry's training."""
    return batch.ascend(batch.attacked.now())


def loss(batch: Batch, perturbed: Tensor, *, beta: float) -> tuple[Tensor, Tensor]:
    """Boosted cross-entropy plus beta times the mean divergence, each image weighted by the doubt of its clean answer.

    beta: called lambda in the paper. Boosted: plus -log(1 - p), with p the largest probability of a wrong class. The class
    weights are in all terms.
    """
    clean = batch.logits(batch.images)
    moved = batch.logits(perturbed)
    objective, labels = batch.objective, batch.labels
    own = labels.view(-1, 1)
    wrong = objective.adjusted(moved).softmax(1).scatter(1, own, 0.0).amax(1)
    boost = -(_ABOVE_1 - wrong).log()
    unsure = 1 - clean.softmax(1).gather(1, own).squeeze(1)
    value = objective(moved, labels) + objective.mean(boost + beta * unsure * divergence(clean, moved), labels)
    return value, moved
