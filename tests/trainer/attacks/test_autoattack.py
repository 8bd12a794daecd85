"""AutoAttack that measures: images leave what will not break them, and nothing else changes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
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


class Threshold(nn.Module):
    """Two classes: the second from a mean brightness of `level` 8-bit steps on."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, images: Tensor) -> Tensor:
        lead = images.mean(dim=(1, 2, 3)) * 255 - self.level
        return torch.stack([torch.zeros_like(lead), lead], dim=1)


@pytest.mark.parametrize(("eps", "broken"), [(1, False), (Fraction(8, 5), False), (2, True)])
def test_success_counts_after_rounding_to_8_bit_alone(eps: Fraction, broken: bool) -> None:
    """At 1.6/255 the attack reaches the other class, but the grid ends at 1/255, where the first class is right again."""
    model, images, labels = Threshold(101.5).eval(), torch.full((2, 3, 8, 8), 100 / 255), torch.zeros(2, dtype=torch.int64)
    threat_model = ThreatModel("linf", Fraction(eps))
    attacked = autoattack.attack(
        model, images, labels, threat_model=threat_model, generator=torch.Generator().manual_seed(0), steps=5, targets=1,
        queries=10,
    )  # fmt: skip
    grid = ball.to_grid(attacked, (images * 255).round().to(torch.uint8), threat_model=threat_model)
    assert bool((model(grid.float() / 255).argmax(1) != labels).all()) == broken
    worst = autoattack._OnGrid(model, images, labels, threat_model=threat_model, trace=None)
    reached = images + threat_model.eps
    worst.meet(reached, model(reached))
    assert len(worst.standing()) == (0 if broken else 2)


def test_images_that_are_not_of_8_bit_are_not_rounded() -> None:
    model, images, labels = Threshold(101.5).eval(), torch.full((2, 3, 8, 8), 100.4 / 255), torch.zeros(2, dtype=torch.int64)
    worst = autoattack._OnGrid(model, images, labels, threat_model=ThreatModel("linf", Fraction(8, 5)), trace=None)
    reached = images + 1.6 / 255
    worst.meet(reached, model(reached))
    assert not len(worst.standing())
    assert torch.equal(worst.images, reached)
