"""Each method's loss is its paper's formula, and its perturbation ascends what its paper says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import hardening
from skinaudit.trainer.attacks import pgd
from skinaudit.trainer.inner_attack import AttackedCopy, Batch
from skinaudit.trainer.objective import Objective

LINF = ThreatModel("linf", Fraction(16))
LABELS = torch.tensor([0, 1, 2, 0, 1])
WEIGHTS = torch.tensor([0.5, 2.0, 1.0])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IMAGES = torch.rand(5, 3, 4, 4, generator=seeded(1))


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


@pytest.fixture
def batch(model: nn.Module) -> Batch:
    return Batch(
        model, AttackedCopy(model, batch_norm="eval"), IMAGES, LABELS, Objective(WEIGHTS), (LINF,) * 3,
        steps=2, clean=0, generator=seeded(),
    )  # fmt: skip


def loss_of(name: str, batch: Batch, perturbed: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    method, settings = hardening.load(name, options)
    return method.loss(batch, perturbed, **settings)


def perturbed_by(name: str, batch: Batch, **options: Any) -> Tensor:
    method, settings = hardening.load(name, options)
    return method.perturb(batch, **settings)


MOVED = (IMAGES + 0.05 * torch.randn(IMAGES.shape, generator=seeded(2))).clamp(0, 1)


def weighted(values: Tensor) -> Tensor:
    shares = WEIGHTS[LABELS] / WEIGHTS[LABELS].sum()
    return (shares * values).sum()


def negative_log(model: nn.Module, images: Tensor) -> Tensor:
    return -model(images).softmax(1)[torch.arange(5), LABELS].log()


def madry(model: nn.Module) -> Tensor:
    return weighted(negative_log(model, MOVED))


def divergences(model: nn.Module) -> Tensor:
    clean, moved = model(IMAGES).softmax(1), model(MOVED).softmax(1)
    return (clean * (clean / moved).log()).sum(1)


def trades(model: nn.Module) -> Tensor:
    return weighted(negative_log(model, IMAGES) + 6 * divergences(model))


def mart(model: nn.Module) -> Tensor:
    probabilities, own = model(MOVED).softmax(1), functional.one_hot(LABELS, 3).bool()
    wrong = probabilities.masked_fill(own, 0).amax(1)
    unsure = 1 - model(IMAGES).softmax(1)[own]
    return weighted(negative_log(model, MOVED) - (1.0001 - wrong).log() + 5 * divergences(model) * unsure)


@pytest.mark.parametrize(
    ("name", "formula"), [("pgd", madry), ("fgsm-rs", madry), ("free", madry), ("trades", trades), ("mart", mart)]
)
def test_the_loss_and_its_gradient_are_the_papers(
    model: nn.Module, batch: Batch, name: str, formula: Callable[[nn.Module], Tensor]
) -> None:
    value, logits = loss_of(name, batch, MOVED)
    gradients = torch.autograd.grad(value, list(model.parameters()))
    expected = torch.autograd.grad(formula(model), list(model.parameters()))
    torch.testing.assert_close(value, formula(model))
    torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(logits, model(MOVED))


@pytest.mark.parametrize("name", hardening.names())
def test_every_method_stays_in_the_ball_and_gives_gradients_to_all_weights(
    model: nn.Module, batch: Batch, name: str
) -> None:  # fmt: skip
    perturbed = perturbed_by(name, batch)
    value, logits = loss_of(name, batch, perturbed)
    value.backward()
    assert (perturbed - IMAGES).abs().max() <= LINF.eps * 1.0001
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1
    assert value.shape == ()
    assert logits.shape == (5, 3)
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_trades_climbs_the_divergence(model: nn.Module, batch: Batch) -> None:
    """One step from the same start along the gradient of the divergence itself."""
    start = (IMAGES + torch.empty_like(IMAGES).uniform_(-LINF.eps, LINF.eps, generator=seeded())).clamp(0, 1)
    leaf = start.clone().requires_grad_()
    clean, moved = model(IMAGES).softmax(1).detach(), model(leaf).softmax(1)
    (gradient,) = torch.autograd.grad((clean * (clean / moved).log()).sum(), leaf)
    stepped = start + 2.5 * LINF.eps * gradient.sign()
    expected = torch.minimum(torch.maximum(stepped, IMAGES - LINF.eps), IMAGES + LINF.eps).clamp(0, 1)
    torch.testing.assert_close(perturbed_by("trades", replace(batch, steps=1)), expected)


def test_pgd_and_mart_perturb_as_the_attack_does(model: nn.Module, batch: Batch) -> None:
    expected = pgd.attack(
        batch.attacked.now(), IMAGES, LABELS, threat_model=LINF, generator=seeded(), steps=2, keep="last"
    )  # fmt: skip
    assert torch.equal(perturbed_by("pgd", batch), expected)
    assert torch.equal(perturbed_by("mart", replace(batch, generator=seeded())), expected)


def test_pgd_can_ascend_other_losses(model: nn.Module, batch: Batch) -> None:
    perturbed = {name: perturbed_by("pgd", replace(batch, generator=seeded()), ascend=name) for name in ("margin", "dlr")}
    leaf = IMAGES.clone().requires_grad_()
    batch = replace(batch, objective=Objective(WEIGHTS, offsets=torch.tensor([0.0, -3.0, 3.0])))
    perturbed["adjusted"] = perturbed_by("pgd", replace(batch, generator=seeded()), ascend="adjusted")
    plain = perturbed_by("pgd", replace(batch, generator=seeded()))
    assert all((images - IMAGES).abs().max() <= LINF.eps * 1.0001 for images in perturbed.values())
    assert not any(torch.equal(images, plain) for images in perturbed.values())
    assert leaf.grad is None


def test_fgsm_rs_takes_one_step_of_alpha_eps(model: nn.Module, batch: Batch) -> None:
    expected = pgd.attack(
        batch.attacked.now(), IMAGES, LABELS, threat_model=LINF, generator=seeded(), steps=1, keep="last",
        step_size=1.25 * LINF.eps,
    )  # fmt: skip
    assert torch.equal(perturbed_by("fgsm-rs", replace(batch, steps=1)), expected)


def test_free_steps_along_the_gradient_that_training_left(model: nn.Module, batch: Batch) -> None:
    first = perturbed_by("free", batch)
    assert torch.equal(first, IMAGES)
    loss_of("free", batch, first)[0].backward()
    gradient = first.grad
    assert gradient is not None
    second = perturbed_by("free", batch)
    assert torch.equal(second, (IMAGES + LINF.eps * gradient.sign()).clamp(0, 1))
    loss_of("free", batch, second)[0].backward()
    smaller = replace(batch, images=IMAGES[:2], labels=LABELS[:2])
    last = perturbed_by("free", smaller)  # of an epoch
    loss_of("free", smaller, last)[0].backward()
    assert len(last) == 2
    assert (perturbed_by("free", batch) - IMAGES).abs().max() <= LINF.eps * 1.0001


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trade", "hardening 'trade': choose one of none, fgsm-rs, free, mart, pgd, trades"),
        ("trades:gamma=1", "hardening trades: no setting gamma; it has beta"),
        ("pgd:ascend=loss", "hardening pgd: ascend=loss: choose one of cross-entropy, adjusted, margin, dlr"),
        ("trades:beta", "hardening 'trades:beta': write settings as key=value, such as trades:beta=6.0"),
        ("trades:beta=much", "hardening trades: beta=much: give a number"),
        ("mart:beta=-1", "hardening mart: beta=-1: give a number above 0"),
        ("free:repeats=2.5", "hardening free: repeats=2.5: give a whole number"),
        ("free:repeats=0", "hardening free: repeats=0: give a number above 0"),
    ],
)
def test_what_is_no_method_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        hardening.parse(text)


def test_settings_are_read_with_their_types() -> None:
    assert hardening.parse("trades:beta=3") == ("trades", {"beta": 3.0})
    assert hardening.parse("free:repeats=8") == ("free", {"repeats": 8})
    assert hardening.parse("pgd") == ("pgd", {})
