"""Several models attacked as one: images that break all of them are more likely to break a model that nobody could attack.

Fused logits are the strongest of three ways to join models in Dong et al. 2018 (https://arxiv.org/abs/1710.06081).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from torch import Tensor, nn


class Ensemble(nn.Module):
    """Models of one contract whose logits are averaged."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """The mean logits (N, classes) for images (N, 3, H, W)."""
        first, *others = self.members
        logits: Tensor = first(images)
        for member in others:
            logits = logits + member(images)
        return logits / len(self.members)


def joint_digest(digests: Sequence[str]) -> str:
    """One digest for the weights of several models, in any order; for one model its own."""
    if len(digests) == 1:
        return digests[0]
    return "sha256:" + hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
