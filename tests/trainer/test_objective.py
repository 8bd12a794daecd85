"""The loss of a recipe is its formula, and equal averages of weights are means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from skinaudit.trainer.objective import Objective, build_objective, logit_offsets
from skinaudit.trainer.optimisation import follow, moving_average, tail_of
from skinaudit.trainer.recipes import RECIPES

LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
WEIGHTS = torch.tensor([0.5, 1.0, 3.0])


def test_smoothed_labels_and_weights_are_in_the_mean() -> None:
    """Each label is 0.7 of its class and 0.1 of every class, itself too; each class has its weight wherever it appears."""
    log_probabilities = LOGITS.log_softmax(1)
    targets = torch.full((6, 3), 0.1).scatter_(1, LABELS.view(-1, 1), 0.8)
    expected = -(targets * WEIGHTS * log_probabilities).sum() / WEIGHTS[LABELS].sum()
    torch.testing.assert_close(Objective(WEIGHTS, smoothing=0.3)(LOGITS, LABELS), expected)


def test_adjusted_logits_are_those_of_the_classes_shares() -> None:
    """Menon et al. 2021: a loss of exp(logit) times the class's share to the power of tau."""
    recipe = replace(RECIPES["default"], class_weighting=0.0, logit_adjustment=2.0)
    labels = LABELS.numpy()
    objective = build_objective(labels, classes=("a", "b", "c"), recipe=recipe, device=torch.device("cpu"))
    odds = LOGITS.exp() * torch.tensor([3 / 6, 2 / 6, 1 / 6]) ** 2
    expected = -(odds[torch.arange(6), LABELS] / odds.sum(1)).log().mean()
    torch.testing.assert_close(objective(LOGITS, LABELS), expected)
    assert logit_offsets(np.array([0, 0]), classes=2, strength=1.0).isfinite().all()  # a class without images
    plain = build_objective(labels, classes=("a", "b", "c"), recipe=RECIPES["default"], device=torch.device("cpu"))
    assert plain.offsets is None


def test_the_mean_has_the_weights_of_the_classes() -> None:
    values = torch.arange(6.0)
    expected = (WEIGHTS[LABELS] * values).sum() / WEIGHTS[LABELS].sum()
    torch.testing.assert_close(Objective(WEIGHTS).mean(values, LABELS), expected)


@pytest.mark.parametrize(("swa", "averaged"), [(0.5, [4.0, 5.0, 6.0, 7.0]), (1.0, list(range(8))), (0.01, [7.0])])
def test_the_last_part_of_the_steps_is_averaged_equally(swa: float, averaged: list[float]) -> None:
    layer = nn.Linear(1, 1)
    average, tail = moving_average(layer), tail_of(replace(RECIPES["default"], swa=swa), steps=8)
    for step in range(8):
        nn.init.constant_(layer.weight, step)
        follow(average, layer, decay=0.0, tail=tail)
    assert average.module.weight.item() == pytest.approx(np.mean(averaged))


def test_without_a_share_nothing_is_averaged_equally() -> None:
    assert tail_of(RECIPES["default"], steps=8) is None
