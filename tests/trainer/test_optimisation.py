"""The learning rate goes up and down once, and once more where a warm-up comes first."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from skinaudit.trainer.optimisation import build_optimiser, build_schedule, one_cycle
from skinaudit.trainer.recipes import RECIPES

RECIPE = RECIPES["default"]


def rates(*, steps: int, warm_up: int = 0) -> list[float]:
    """The learning rate, in units of the recipe's, at each optimiser step."""
    optimiser = build_optimiser(nn.Linear(2, 2), RECIPE)
    schedule = build_schedule(optimiser, RECIPE, steps=steps, warm_up=warm_up)
    rates_by_step = []
    for _ in range(steps):
        rates_by_step.append(optimiser.param_groups[0]["lr"] / RECIPE.learning_rate)
        optimiser.step()
        schedule.step()
    return rates_by_step


@pytest.mark.parametrize("steps", [5, 8, 12, 101])
def test_a_cycle_is_that_of_torch(steps: int) -> None:
    optimiser = build_optimiser(nn.Linear(2, 2), RECIPE)
    schedule = OneCycleLR(
        optimiser, max_lr=RECIPE.learning_rate, total_steps=steps, pct_start=0.25, cycle_momentum=False
    )  # fmt: skip
    expected = [optimiser.param_groups[0]["lr"] / RECIPE.learning_rate]
    for _ in range(steps - 1):
        optimiser.step()
        schedule.step()
        expected.append(optimiser.param_groups[0]["lr"] / RECIPE.learning_rate)
    assert rates(steps=steps) == pytest.approx(expected)


def test_a_cycle_rises_to_the_recipes_rate_and_falls_to_almost_nothing() -> None:
    by_step = rates(steps=100)
    assert by_step[0] == pytest.approx(1 / 25)
    assert by_step[24] == pytest.approx(1)
    assert by_step[-1] == pytest.approx(1 / 250_000)
    assert by_step[:25] == sorted(by_step[:25])
    assert by_step[24:] == sorted(by_step[24:], reverse=True)
    assert one_cycle(120, steps=100) == one_cycle(99, steps=100)  # steps beyond the last have its rate


def test_a_warm_up_has_a_cycle_of_its_own_and_hardening_the_next() -> None:
    assert rates(steps=50, warm_up=20) == rates(steps=20) + rates(steps=30)


@pytest.mark.parametrize(("steps", "warm_up"), [(1, 0), (2, 1), (3, 3), (5, 0)])
def test_any_number_of_steps_has_a_schedule(steps: int, warm_up: int) -> None:
    assert all(0 < rate <= 1 for rate in rates(steps=steps, warm_up=warm_up))


def test_a_resumed_schedule_goes_on_where_it_stood() -> None:
    undisturbed = rates(steps=12, warm_up=5)
    first = build_optimiser(nn.Linear(2, 2), RECIPE)
    schedule = build_schedule(first, RECIPE, steps=12, warm_up=5)
    for _ in range(7):
        first.step()
        schedule.step()
    second = build_optimiser(nn.Linear(2, 2), RECIPE)
    resumed = build_schedule(second, RECIPE, steps=12, warm_up=5)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    second.step()
    resumed.step()
    assert second.param_groups[0]["lr"] / RECIPE.learning_rate == pytest.approx(undisturbed[8])
    assert torch.equal(torch.tensor(resumed.get_last_lr()), torch.tensor([undisturbed[8] * RECIPE.learning_rate] * 2))
