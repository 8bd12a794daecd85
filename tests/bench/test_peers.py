"""Each peer is asked for the same attack: the same ball, and on a linear model the same optimum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.bench import peers
from skinaudit.trainer.attacks import pgd

EPS = ThreatModel("linf", parse_eps("8/255"))
STEPS = 10
ROUNDING = 1e-6

pytestmark = pytest.mark.usefixtures("peer_versions")


def _attack(name: str, model: nn.Module, images: Tensor, labels: Tensor, *, seed: int = 0) -> Tensor:
    size = 2.5 * EPS.eps / STEPS
    return peers.ATTACKS[name](model, images, labels, eps=EPS.eps, step_size=size, steps=STEPS, seed=seed)


@pytest.mark.parametrize("name", peers.ATTACKS)
def test_stays_in_the_ball_and_the_box(name: str, linear: nn.Module, images: Tensor) -> None:
    labels = linear(images).argmax(1)
    perturbed = _attack(name, linear, images, labels)
    assert perturbed.shape == images.shape
    assert float((perturbed - images).abs().max()) <= EPS.eps + ROUNDING
    assert 0 <= float(perturbed.min()) <= float(perturbed.max()) <= 1


@pytest.mark.parametrize("name", peers.ATTACKS)
def test_reaches_the_optimum_of_a_linear_model_as_ours_does(name: str, linear: nn.Module, images: Tensor) -> None:
    labels = 1 - linear(images).argmax(1)  # broken already, so that adv-lib returns its iterate and not the clean image
    weight = linear[1].weight.detach()
    direction = (weight[1 - labels] - weight[labels]).sign().view_as(images)
    optimum = (images + EPS.eps * direction).clamp(0, 1)
    ours = pgd.attack(
        linear, images, labels,
        threat_model=EPS, generator=torch.Generator().manual_seed(0), steps=STEPS, keep="last",
    )  # fmt: skip
    assert torch.allclose(ours, optimum, atol=ROUNDING)
    assert torch.allclose(_attack(name, linear, images, labels), optimum, atol=ROUNDING)


@pytest.mark.parametrize("name", peers.ATTACKS)
def test_starts_at_random_by_the_seed(name: str, linear: nn.Module, images: Tensor) -> None:
    labels = 1 - linear(images).argmax(1)
    settings = {"eps": EPS.eps, "step_size": EPS.eps / 100, "steps": 2}
    first, again, other_seed = (
        peers.ATTACKS[name](linear, images, labels, seed=seed, **settings) for seed in (0, 0, 1)
    )  # fmt: skip
    assert torch.equal(first, again)
    assert not torch.equal(first, other_seed)


@pytest.mark.parametrize("name", peers.ATTACKS)
def test_leaves_the_model_as_it_was(name: str, linear: nn.Module, images: Tensor) -> None:
    before = {key: value.clone() for key, value in linear.state_dict().items()}
    _attack(name, linear, images, linear(images).argmax(1))
    assert not linear.training
    assert all(torch.equal(value, before[key]) for key, value in linear.state_dict().items())
