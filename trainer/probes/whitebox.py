"""PGD on the source with the engine in the loop: of all points on the way, keep the one with the engine's worst answer.

A stored set contains what fools the source; this finds what fools the engine. Madry et al. 2018,
https://arxiv.org/abs/1706.06083.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from skinaudit.trainer.probes import Pixels, walk

GATED = True


def search(model: nn.Module, *given: Any, **settings: Any) -> tuple[Pixels, int]:
    """Move to increase the source's loss; see skinaudit.trainer.probes.walk."""
    return walk(
        model, *given, **settings,
        counts=lambda points, labels: np.ones(len(points), np.bool_), direction=lambda gradient, wrong_lead: gradient,
    )  # fmt: skip
