"""TRADES (Zhang et al. 2019, https://arxiv.org/abs/1901.08573): clean loss plus a penalty for changed answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from skinaudit.trainer.inner_attack import Batch

SETTINGS: Mapping[str, Any] = {"beta": 6.0}
STEPS: int | None = None
MIXES = False


def perturb(batch: Batch, *, beta: float) -> Tensor:
    """Images near the clean ones whose answers have the largest Kullback-Leibler divergence from the clean answers.

    The attack increases the cross-entropy with the clean answers as soft labels, which has the same gradient as the
    divergence. It starts anywhere in the ball; the original starts at a thousandth of Gaussian noise.
    """
    attacked = batch.attacked.now()
    with torch.no_grad():
        answers = attacked(batch.images.contiguous(memory_format=torch.channels_last)).softmax(1)
    return batch.ascend(attacked, targets=answers, loss=_soft_cross_entropy)


def loss(batch: Batch, perturbed: Tensor, *, beta: float) -> tuple[Tensor, Tensor]:
    """The objective on clean images plus beta times the mean divergence, both with the class weights."""
    clean = batch.logits(batch.images)
    moved = batch.logits(perturbed)
    return batch.objective(clean, batch.labels) + beta * batch.objective.mean(divergence(clean, moved), batch.labels), moved


def divergence(clean: Tensor, moved: Tensor) -> Tensor:
    """Kullback-Leibler divergence (N,) of the answers `moved` from the answers `clean`, logits (N, classes) each."""
    return functional.kl_div(
        moved.log_softmax(1), clean.log_softmax(1), reduction="none", log_target=True
    ).sum(1)  # fmt: skip


def _soft_cross_entropy(logits: Tensor, answers: Tensor, _: Tensor | None) -> Tensor:
    return functional.cross_entropy(logits, answers, reduction="none")
