from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from skinaudit.artifacts.perturbation import within
from skinaudit.artifacts.threat_model import Norm, ThreatModel
from skinaudit.trainer.evaluate import logits_of
from skinaudit.trainer.probes import load, names

IMAGES = np.random.default_rng(0).integers(40, 215, (24, 3, 32, 32)).astype(np.uint8)


def linear(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7)).eval()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return linear(3)


def find(model: nn.Module, target: nn.Module, name: str, *, norm: Norm = "linf", eps: int = 2, queries: int = 25) -> Any:
    """The images found on `target`, an engine of another model or of the same."""
    labels = logits_of(model, IMAGES).argmax(1)

    def answer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return logits_of(target, images)

    search, gated = load(name, model)
    settled: list[int] = []
    points, queries_asked = search(
        answer, IMAGES, labels, start=None, threat_model=ThreatModel(norm, Fraction(eps)),
        generator=np.random.default_rng(1), tick=settled.append, queries=queries,
    )  # fmt: skip
    assert sum(settled) == len(IMAGES)
    return labels, answer, points, queries_asked, gated


def moved(model: nn.Module) -> nn.Module:
    """The model with some noise on its weights, as a poor quantisation would leave them."""
    blend = linear(4)
    mixed = {name: 0.7 * model.state_dict()[name] + 0.3 * weight for name, weight in blend.state_dict().items()}
    blend.load_state_dict(mixed)
    return blend


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize(("norm", "eps"), [("linf", 2), ("l2", 200)])
def test_what_is_found_lies_in_the_ball(model: nn.Module, name: str, norm: Norm, eps: int) -> None:
    _, _, points, queries_asked, _ = find(model, model, name, norm=norm, eps=eps)
    assert points.dtype == np.uint8
    assert within(points, IMAGES, ThreatModel(norm, Fraction(eps))).all()
    assert len(IMAGES) <= queries_asked <= 25 * len(IMAGES)


def test_the_gradient_of_the_source_breaks_the_engine_built_from_it(model: nn.Module) -> None:
    labels, answer, points, _, gated = find(model, model, "whitebox", eps=4)
    assert gated
    assert (answer(IMAGES).argmax(1) == labels).all()
    assert (answer(points).argmax(1) != labels).mean() > 0.5


def test_of_all_points_the_one_is_kept_that_the_engine_likes_least(model: nn.Module) -> None:
    """More queries on the same way never help the engine."""
    engine = moved(model)
    labels, answer, few, _, _ = find(model, engine, "whitebox", eps=1, queries=2)
    _, _, many, _, _ = find(model, engine, "whitebox", eps=1, queries=60)
    wrong = [int((answer(points).argmax(1) != labels).sum()) for points in (few, many)]
    assert wrong[0] <= wrong[1]


def test_an_engine_that_is_its_source_gives_nothing_to_disagree_on(model: nn.Module) -> None:
    labels, answer, points, _, gated = find(model, model, "disagree", eps=4)
    assert not gated
    assert (answer(points).argmax(1) == labels).all()


def test_where_they_disagree_the_source_is_right_and_the_engine_is_not(model: nn.Module) -> None:
    engine = moved(model)
    labels, answer, points, _, _ = find(model, engine, "disagree", eps=4, queries=60)
    clean = answer(IMAGES).argmax(1) != labels
    wrong = answer(points).argmax(1) != labels
    assert wrong.sum() > clean.sum()
    changed = (points != IMAGES).any(axis=(1, 2, 3))
    assert (logits_of(model, points).argmax(1) == labels)[wrong & changed].all()


@pytest.mark.parametrize("name", names())
def test_the_same_seed_finds_the_same(model: nn.Module, name: str) -> None:
    first, second = (find(model, moved(model), name)[2] for _ in range(2))
    assert (first == second).all()
