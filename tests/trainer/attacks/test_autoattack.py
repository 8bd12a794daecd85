"""AutoAttack that measures: images leave what will not break them, and nothing else changes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.attacks import autoattack
from skinaudit.trainer.generate import AttackPlan, check_plan

EPS = ThreatModel("linf", Fraction(2))
SIZE, COUNT = 8, 12


class Small(nn.Module):
    """A smooth network of four classes that counts what it is asked. factor: of its gradient alone."""

    def __init__(self, factor: float = 1) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first = torch.randn(3 * SIZE * SIZE, 16, generator=generator) * 0.1
        self.second = torch.randn(16, 4, generator=generator)
        self.factor, self.gradients, self.answers = factor, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            self.gradients += len(images)
        else:
            self.answers += len(images)
        scaled = self.factor * images + (1 - self.factor) * images.detach()
        return torch.tanh((scaled - 0.5).flatten(1) @ self.first) @ self.second


def batch() -> tuple[Tensor, Tensor]:
    images = torch.rand(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    return images, Small()(images).argmax(1)


def stands(model: Small, **settings: Any) -> Tensor:
    """Which images (N,) are still answered rightly."""
    images, labels = batch()
    perturbed = autoattack.attack(
        model.eval(), images, labels, threat_model=EPS, generator=torch.Generator().manual_seed(0), steps=20, queries=150,
        stop_margin=0.0, **settings,
    )  # fmt: skip
    return model(perturbed).argmax(1) == labels


def test_images_that_nothing_breaks_leave_early_and_the_same_images_stand() -> None:
    whole, early = Small(), Small()
    standing = stands(whole)
    assert 0 < int(standing.sum()) < COUNT
    assert torch.equal(stands(early, settle=4.0), standing)
    assert early.gradients < whole.gradients / 2
    assert early.answers < whole.answers / 2


def test_where_gradients_lead_away_the_search_without_them_brings_the_whole_budget_back() -> None:
    misled = Small(factor=-1)
    standing = stands(misled, settle=4.0)
    assert torch.equal(standing, stands(Small(factor=-1)))
    assert misled.gradients >= 20 * int(standing.sum()) * 3  # each target once more, to the end


def test_a_gradient_of_nothing_settles_no_image() -> None:
    silent = Small(factor=0)
    standing = stands(silent, settle=4.0)
    assert silent.gradients >= 20 * int(standing.sum()) * 4


@pytest.mark.parametrize("settings", [{"settle": 4.0, "stop_margin": None}, {"settle": 0.5, "stop_margin": 0.0}])
def test_settling_needs_a_stop_margin_and_a_share_of_at_least_one(settings: dict[str, Any]) -> None:
    images, labels = batch()
    with pytest.raises(InvalidInputError, match="settle"):
        autoattack.attack(
            Small().eval(), images, labels, threat_model=EPS, generator=torch.Generator(), steps=1, queries=1, **settings
        )


def test_a_stored_set_never_settles() -> None:
    with pytest.raises(InvalidInputError, match="settle"):
        check_plan(AttackPlan("autoattack", EPS, {"settle": 4.0}))
