"""FGSM-RS (Wong et al. 2020, https://arxiv.org/abs/2001.03994): one step from a random start.

It can overfit to its own attack from one epoch to the next; `trainer.overfitting` checks for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from skinaudit.trainer.inner_attack import Batch

SETTINGS: Mapping[str, Any] = {"alpha": 1.25}
STEPS: int | None = 1
MIXES = True


def perturb(batch: Batch, *, alpha: float) -> Tensor:
    """Move all but the clean images of the batch by one step. alpha: step size in units of eps, before projection."""
    return batch.ascend(batch.attacked.now(), step_share=alpha)


def loss(batch: Batch, perturbed: Tensor, *, alpha: float) -> tuple[Tensor, Tensor]:
    """The objective on the perturbed images."""
    logits = batch.logits(perturbed)
    return batch.objective(logits, batch.labels), logits
