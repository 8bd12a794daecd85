"""Free adversarial training (Shafahi et al. 2019, https://arxiv.org/abs/1904.12843): one backward pass, two gradients.

Each batch is trained on `repeats` times. Each time, the perturbation takes one step along the input gradient left by the
previous backward pass for the weights, so the attack needs no gradient of its own. The perturbation is carried from batch to
batch within an epoch and starts again in each epoch, so a resumed training needs nothing from the previous one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from skinaudit.trainer.inner_attack import Batch

SETTINGS: Mapping[str, Any] = {"repeats": 4}
STEPS: int | None = 1
MIXES = False
NORMS = ("linf",)
ASCENDS = False


@torch.no_grad()
def perturb(batch: Batch, *, repeats: int) -> Tensor:
    """The images plus the perturbation so far, as a leaf. The next call takes a step along its gradient.

    repeats: called m in the paper. Only a linf perturbation can be carried from one image to another.
    """
    radii = batch.radii()
    offset = batch.carried.get("offset")
    if offset is None or len(offset) < len(batch.images):
        offset = torch.zeros_like(batch.images)
    leaf = batch.carried.pop("leaf", None)
    if leaf is not None:
        offset[: len(leaf)] += radii.amax() * leaf.grad[: len(offset)].sign()
    limit = radii.amax()
    offset = offset.clamp(-limit, limit)
    count = len(batch.images)
    moved = (batch.images + torch.clamp(offset[:count], -radii, radii)).clamp(0, 1)
    batch.carried.update(offset=offset, leaf=moved.requires_grad_())
    return moved


def loss(batch: Batch, perturbed: Tensor, *, repeats: int) -> tuple[Tensor, Tensor]:
    """The objective on the perturbed images."""
    logits = batch.logits(perturbed)
    return batch.objective(logits, batch.labels), logits
