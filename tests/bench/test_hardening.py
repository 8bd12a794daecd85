"""The plain loop that ours is compared with does the work that it should."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.bench import hardening
from skinaudit.bench.attacks import Batch
from skinaudit.trainer.models import build
from skinaudit.trainer.recipes import Hardening

SETTING = Hardening(ThreatModel("linf", parse_eps("8/255")), steps=10, ramp=0.0)


@pytest.mark.parametrize("gradient", ["grad", "backward"])
def test_plain_attack_reaches_the_optimum_of_a_linear_model(
    gradient: Literal["grad", "backward"], linear: nn.Module, images: Tensor
) -> None:
    labels = linear(images).argmax(1)
    perturbed = hardening._plain_pgd(linear, images, labels, SETTING, gradient)
    weight = linear[1].weight.detach()
    direction = (weight[1 - labels] - weight[labels]).sign().view_as(images)
    assert torch.allclose(perturbed, (images + SETTING.threat_model.eps * direction).clamp(0, 1), atol=1e-6)


@pytest.mark.usefixtures("peer_versions")
def test_every_contestant_trains_a_copy_of_its_own() -> None:
    model = build("mobilenet", width=0.25, size=32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    numbers = np.random.default_rng(0)
    batch = Batch(numbers.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8), np.array([0, 1, 2, 6]))
    torch.manual_seed(0)
    for epoch in hardening._contestants(model, batch, SETTING).values():
        epoch(0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
