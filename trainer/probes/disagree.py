"""Searches along the source's decision boundary for points where the engine is wrong while its source is right.

The goal is that of DIVA (Hao et al. 2022, https://arxiv.org/abs/2204.10933). DIVA follows gradients of both models, but an
engine has none. So the search goes to points where the source's lead is just above 0 and queries the engine at every step.
It finds nothing on an engine that always agrees with its source, no matter which of the two is more robust.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.logits import lead
from skinaudit.trainer.evaluate import logits_of
from skinaudit.trainer.probes import Pixels, walk

GATED = False
"""The reference is the source, so by construction it loses nothing: the share found is a figure, not a drop."""

_NEAR = 0.02
"""Lead of the source's true logit that the search keeps; rounding to 8 bit changes it by about as much."""


def search(model: nn.Module, *given: Any, **settings: Any) -> tuple[Pixels, int]:
    """Walk to the source's boundary and along it. Only points that the source classifies correctly count."""
    return walk(
        model, *given, **settings,
        counts=lambda points, labels: lead(logits_of(model, points), labels) > 0, direction=_to_the_boundary,
    )  # fmt: skip


def _to_the_boundary(gradient: Tensor, wrong_lead: Tensor) -> Tensor:
    outward = (wrong_lead < -_NEAR).view(-1, 1, 1, 1)  # right by more than the lead to keep
    return torch.where(outward, gradient, -gradient)
