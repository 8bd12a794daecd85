"""Points where the engine is wrong while its source is right, looked for along the source's decision boundary.

The goal is that of DIVA (Hao et al. 2022, https://arxiv.org/abs/2204.10933). DIVA follows gradients of both models; of an
engine there are none, so the search walks to where the source's lead is just above 0 and asks the engine at every step. It
cannot find anything on an engine that agrees with its source everywhere, whichever of the two is more robust.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.logits import lead
from skinaudit.trainer.evaluate import logits_of
from skinaudit.trainer.probes import Pixels, walk

GATED = False
"""By construction the reference, which is the source, loses nothing: the share found is a figure, not a drop."""

_NEAR = 0.02
"""The lead of the source's true logit to hold; rounding to 8 bit moves it by about as much."""


def search(model: nn.Module, *given: Any, **settings: Any) -> tuple[Pixels, int]:
    """Walk to the source's boundary and along it; only points that the source names rightly count."""
    return walk(
        model, *given, **settings,
        counts=lambda points, labels: lead(logits_of(model, points), labels) > 0, direction=_to_the_boundary,
    )  # fmt: skip


def _to_the_boundary(gradient: Tensor, wrong_lead: Tensor) -> Tensor:
    outward = (wrong_lead < -_NEAR).view(-1, 1, 1, 1)  # still right by more than the lead to hold
    return torch.where(outward, gradient, -gradient)
