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
from skinaudit.trainer.ascent.look import Worst
from skinaudit.trainer.ascent.losses import smooth_lead
from skinaudit.trainer.ascent.settling import too_slow
from skinaudit.trainer.ascent.starts import climb_standing, standing_pairs
from skinaudit.trainer.attacks import autoattack
from skinaudit.trainer.attacks.fab_t import walk_boundaries
from skinaudit.trainer.generate import AttackPlan, check_plan

EPS = ThreatModel("linf", Fraction(2))
SIZE, COUNT = 8, 12


class Small(nn.Module):
    """A smooth network of four classes that counts what it is asked.

    factor: of its gradient alone. turned: its gradient is that of the image turned upside down.
    """

    def __init__(self, factor: float = 1, *, turned: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first = torch.randn(3 * SIZE * SIZE, 16, generator=generator) * 0.1
        self.second = torch.randn(16, 4, generator=generator)
        self.factor, self.turned, self.gradients, self.answers = factor, turned, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            self.gradients += len(images)
        else:
            self.answers += len(images)
        seen = images.flip(2) if self.turned else images
        scaled = images.detach() + self.factor * (seen - seen.detach())
        return torch.tanh((scaled - 0.5).flatten(1) @ self.first) @ self.second


def batch() -> tuple[Tensor, Tensor]:
    images = torch.rand(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    return images, Small()(images).argmax(1)


def stands(model: Small, *, queries: int = 150, **settings: Any) -> Tensor:
    """Which images (N,) are still answered rightly."""
    images, labels = batch()
    perturbed = autoattack.attack(
        model.eval(), images, labels, threat_model=EPS, generator=torch.Generator().manual_seed(0), steps=20,
        queries=queries, stop_margin=0.0, **settings,
    )  # fmt: skip
    return model(perturbed).argmax(1) == labels


def test_images_that_nothing_breaks_leave_early_and_the_same_images_stand() -> None:
    whole, early = Small(), Small()
    standing = stands(whole)
    assert 0 < int(standing.sum()) < COUNT
    assert torch.equal(stands(early, settle=2.0), standing)
    assert early.gradients < whole.gradients / 2
    assert early.answers < whole.answers / 2


@pytest.mark.parametrize("settings", [{"turned": True}, {"factor": 0}])
def test_where_gradients_mislead_the_search_without_them_brings_the_whole_budget_back(settings: dict[str, Any]) -> None:
    masked, whole = Small(**settings), Small(**settings)
    standing = stands(masked, settle=2.0, queries=500)
    assert torch.equal(standing, stands(whole, queries=500))
    assert not torch.equal(standing, stands(Small(**settings), settle=2.0, queries=1))  # the search breaks some
    assert masked.gradients >= 7 * 20 * int(standing.sum())  # seven runs once more, to the end


class Plateau(nn.Module):
    """Two classes. The second one's lead hardly rises, until the mean brightness rose by half of EPS; then it is steep."""

    def forward(self, images: Tensor) -> Tensor:
        risen = (images.mean(dim=(1, 2, 3)) * 255 - 100) / 2
        lead = 0.01 * risen + 10 * (risen - 0.5).clamp_min(0) - 1
        return torch.stack([torch.zeros_like(lead), lead], dim=1)


def test_the_first_gradients_alone_make_no_image_hopeless() -> None:
    images, labels = torch.full((4, 3, SIZE, SIZE), 100 / 255), torch.zeros(4, dtype=torch.int64)
    model = Plateau().eval()
    perturbed = autoattack.attack(
        model, images, labels, threat_model=EPS, generator=torch.Generator().manual_seed(0), steps=20, queries=1,
        stop_margin=0.0, settle=2.0,
    )  # fmt: skip
    assert not bool((model(perturbed).argmax(1) == labels).any())


def test_all_target_classes_of_an_image_in_one_run_keep_its_worst_point() -> None:
    images, labels = batch()
    model = Small().eval()
    worst = Worst(images, labels)
    index = torch.tensor([5, 2, 2, 5, 2])
    points = (images[index] + 0.1 * torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    lead = worst.meet(points, model(points), index=index)
    for image in (2, 5):
        rows = (index == image).nonzero().squeeze(1)
        strongest = rows[lead[rows].argmax()]
        assert worst.margin[image] == lead[strongest]
        assert torch.equal(worst.images[image], points[strongest])
    assert int(worst.margin.isfinite().sum()) == 2


def test_target_classes_follow_one_another_or_come_at_once() -> None:
    images, labels = torch.zeros(3, 3, SIZE, SIZE), torch.zeros(3, dtype=torch.int64)
    worst, order = Worst(images, labels), torch.tensor([[1, 2], [2, 3], [3, 1]])
    turns = standing_pairs(worst, order, at_once=None)
    assert [part.tolist() for part in next(turns)] == [[0, 1, 2], [1, 2, 3]]
    worst.margin[1] = 1
    assert [part.tolist() for part in next(turns)] == [[0, 2], [2, 1]]
    together = list(standing_pairs(worst, order, at_once=torch.tensor([0, 2])))
    assert [[part.tolist() for part in run] for run in together] == [[[0, 0, 2, 2], [1, 2, 3, 1]]]
    assert not list(standing_pairs(worst, order, at_once=torch.tensor([], dtype=torch.int64)))


def test_within_reach_is_what_misses_a_small_share_of_its_gain() -> None:
    worst = Worst(torch.zeros(5, 3, SIZE, SIZE), torch.zeros(5, dtype=torch.int64))
    worst.margin = torch.tensor([-1.0, -1.0, 0.0, 0.5, -0.2])
    before = torch.tensor([-5.0, -4.9, -3.0, -1.0, -0.2])
    assert worst.within_reach(before, 0.25).tolist() == [0, 2]


class Level(nn.Module):
    """Eight classes. All wrong ones miss about 1, and brightness hardly changes that."""

    def forward(self, images: Tensor) -> Tensor:
        risen = images.mean(dim=(1, 2, 3)) * 255 - 100
        lead = -1 + 1e-4 * risen
        return torch.stack([torch.zeros_like(lead), *[lead] * 7], dim=1)


def test_too_slow_is_what_misses_more_than_it_gained_times_settle() -> None:
    lead = torch.tensor([-1.0, -1.0, -1.0, 0.1])
    earlier = torch.tensor([-1.4, -1.6, -torch.inf, 0.1])
    assert too_slow(lead, earlier, 2.0).tolist() == [True, False, False, False]


def test_a_run_on_all_classes_that_gains_nothing_more_ends_after_a_fifth_of_its_steps() -> None:
    """The loss of all classes together is above 0 here, so its gradient never promises too little."""

    def climb(settle: float | None) -> int:
        model = Counting(Level()).eval()
        images, labels = torch.full((2, 3, SIZE, SIZE), 100 / 255), torch.zeros(2, dtype=torch.int64)
        climb_standing(
            model, images, labels, worst=Worst(images, labels), loss=smooth_lead, threat_model=EPS,
            generator=torch.Generator().manual_seed(0), steps=20, stop_margin=0.0, settle=settle,
        )  # fmt: skip
        return model.gradients

    assert climb(None) == 2 * 21
    assert climb(2.0) == 2 * 4


def test_a_walk_that_is_still_far_away_ends() -> None:
    """The boundary is 5 eps away; without settle the walk takes all steps."""
    images, labels = torch.full((2, 3, SIZE, SIZE), 100 / 255), torch.zeros(2, dtype=torch.int64)
    for settle, fewest, most in ((None, 40, 42), (2.0, 10, 14)):
        model = Counting(Threshold(110.0)).eval()
        worst = Worst(images, labels)
        worst.margin = torch.full((2,), -0.5)  # as if other attacks had come near
        walk_boundaries(
            model, images, labels, worst=worst, threat_model=EPS, steps=20, targets=1, stop_margin=0.0, settle=settle
        )
        assert fewest <= model.gradients <= most


@pytest.mark.parametrize("settings", [{"settle": 2.0, "stop_margin": None}, {"settle": 0.5, "stop_margin": 0.0}])
def test_settling_needs_a_stop_margin_and_a_share_of_at_least_one(settings: dict[str, Any]) -> None:
    images, labels = batch()
    with pytest.raises(InvalidInputError, match="settle"):
        autoattack.attack(
            Small().eval(), images, labels, threat_model=EPS, generator=torch.Generator(), steps=1, queries=1, **settings
        )


def test_a_stored_set_never_settles() -> None:
    with pytest.raises(InvalidInputError, match="full budget; leave settle out"):
        check_plan(AttackPlan("autoattack", EPS, {"settle": 2.0}))
    with pytest.raises(InvalidInputError, match="full budget; leave stop_margin and settle out"):
        check_plan(AttackPlan("apgd-ce", EPS, {"settle": 2.0, "stop_margin": 0.0}))


class Counting(nn.Module):
    """A model that counts the images whose gradient was asked for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.gradients = model, 0

    def forward(self, images: Tensor) -> Tensor:
        self.gradients += len(images) if images.requires_grad else 0
        logits: Tensor = self.model(images)
        return logits


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
