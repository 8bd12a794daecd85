"""Fast gradient sign method (Goodfellow et al. 2015, https://arxiv.org/abs/1412.6572): one full step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.attack_trace import AttackTrace
from skinaudit.trainer.attacks import pgd

SETTINGS: dict[str, Any] = {"targeted": False}


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    targeted: bool = False,
    trace: AttackTrace | None = None,
) -> Tensor:
    """One step of size eps along the sign of the loss gradient (under l2, along its direction): PGD with one full step.

    Shapes, dtypes, `targeted` and `trace` as in pgd. Deterministic; the generator is not used.
    """
    return pgd.attack(
        model, images, labels, threat_model=threat_model, generator=generator,
        steps=1, step_size=threat_model.eps, random_start=False, targeted=targeted, keep="last", trace=trace,
    )  # fmt: skip
