"""Auto-PGD on the cross-entropy (Croce and Hein 2020, https://arxiv.org/abs/2003.01690)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.ascent.losses import smooth_lead
from skinaudit.trainer.ascent.settling import by_smooth_lead
from skinaudit.trainer.ascent.starts import check_counts, check_measuring, from_starts
from skinaudit.trainer.attack_trace import AttackTrace

SETTINGS: dict[str, Any] = {"steps": 100, "restarts": 1, "targeted": False, "stop_margin": None, "settle": None}


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int = 100,
    restarts: int = 1,
    targeted: bool = False,
    stop_margin: float | None = None,
    settle: float | None = None,
    trace: AttackTrace | None = None,
) -> Tensor:
    """Increase the cross-entropy, as the smooth lead, from random starts.

    Shapes, dtypes and `targeted` as in pgd-dlr. A broken image is not started again. stop_margin: if given, an image leaves
    when a wrong class leads by more; for measuring, not for storing. settle: only with stop_margin, without targeted and
    without a trace, and at least 1. An image then also leaves if this attack will not break it; see `ascent.settling`.
    Raises InvalidInputError for counts below 1 and for an invalid settle.
    """
    check_counts("apgd-ce", steps=steps, restarts=restarts)
    check_measuring("apgd-ce", settle, stop_margin=stop_margin, targeted=targeted, trace=trace)
    return from_starts(
        model, images, labels, loss=smooth_lead, threat_model=threat_model, generator=generator, steps=steps,
        restarts=restarts, targeted=targeted, stop_margin=stop_margin, settle=settle, rule=by_smooth_lead, trace=trace,
    )  # fmt: skip
