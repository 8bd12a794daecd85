"""PGD adversarial training (Madry et al. 2018): replace training images by the worst ones near them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from skinaudit.trainer.attacks import pgd
from skinaudit.trainer.models import channels_last, folded
from skinaudit.trainer.recipes import Hardening


def harden_batch(
    model: nn.Module, images: Tensor, labels: Tensor, *, hardening: Hardening, share: float, generator: torch.Generator
) -> Tensor:
    """The batch float32 (N, 3, H, W) with all but the first `clean_share` of its images replaced by adversarial ones.

    share: how much of the training is done, 0 to 1; it sets eps on the ramp. The attack runs on a frozen copy: only input
    gradients are computed, and neither weights nor the running statistics of the model in training are touched.
    """
    clean = round(hardening.clean_share * len(images))
    if clean == len(images):
        return images
    if hardening.batch_norm == "train":
        clean = min(clean, max(0, len(images) - 2))  # one image has no batch statistics
    perturbed = pgd.attack(
        attacked_copy(model, batch_norm=hardening.batch_norm), images[clean:], labels[clean:],
        threat_model=hardening.at(share), generator=generator, steps=hardening.steps, keep="last",
    )  # fmt: skip
    return torch.cat([images[:clean], perturbed])


def attacked_copy(model: nn.Module, *, batch_norm: str) -> nn.Module:
    """The function that the inner attack ascends: folded running statistics (`eval`) or the batch's own (`train`)."""
    if batch_norm == "eval":
        return folded(model)
    frozen = copy.deepcopy(model).train().requires_grad_(False)
    for layer in frozen.modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    return channels_last(frozen)
