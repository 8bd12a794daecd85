"""Free adversarial training (Shafahi et al. 2019, https://arxiv.org/abs/1904.12843): one backward pass gives both gradients.

Each batch is trained on `repeats` times. Each time the perturbation takes one step along the input gradient that the last
backward pass of the weights left behind, so that no gradient is computed for the attack alone. It is carried from batch to
batch within an epoch and begins each epoch anew, so that a resumed training needs none of the last one.
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


@torch.no_grad()
def perturb(batch: Batch, *, repeats: int) -> Tensor:
    """The images plus the perturbation so far: a leaf, whose gradient the next call steps along.

    repeats: called m in the paper. Under linf alone a perturbation can be carried from one image to another.
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
