"""Hardening within an epoch: it replaces images and touches nothing else, and moved weights come back."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from skinaudit.artifacts.contract import CLASSES
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.hardener import Hardener, move_weights_against
from skinaudit.trainer.inner_attack import AttackedCopy
from skinaudit.trainer.models import build
from skinaudit.trainer.objective import Objective
from skinaudit.trainer.recipes import Hardening

LINF4 = ThreatModel("linf", Fraction(4))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("mobilenet", width=0.25, size=32).train()


IMAGES = torch.rand(8, 3, 32, 32, generator=seeded(1))
LABELS = torch.arange(8) % 7


OBJECTIVE = Objective(torch.ones(7))


def hardened(model: nn.Module, hardening: Hardening, *, share: float = 1.0) -> Tensor:
    hardener = Hardener(model, hardening, function=model, objective=OBJECTIVE, classes=CLASSES)
    hardener.begin(seeded())
    batch = hardener.batch(IMAGES, LABELS, share=share)
    return IMAGES if batch is None else hardener.perturb(batch)


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
@pytest.mark.parametrize("training", [True, False])
def test_weights_statistics_and_mode_are_left_alone(model: nn.Module, batch_norm: str, training: bool) -> None:
    model.train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hardened(model, Hardening(LINF4, steps=2, batch_norm=batch_norm))  # type: ignore[arg-type]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(layer.training is training for layer in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
@pytest.mark.parametrize(("clean_share", "clean"), [(0.0, 0), (0.25, 2), (0.5, 4), (1.0, 8)])
def test_the_first_part_stays_clean_and_the_rest_moves_within_eps(
    model: nn.Module, batch_norm: str, clean_share: float, clean: int
) -> None:
    hardening = Hardening(LINF4, steps=2, clean_share=clean_share, batch_norm=batch_norm)  # type: ignore[arg-type]
    batch = hardened(model, hardening)
    moved = (batch - IMAGES).abs().flatten(1).amax(1)
    assert torch.equal(batch[:clean], IMAGES[:clean])
    assert (moved[clean:] > LINF4.eps / 2).all()
    assert moved.max() <= LINF4.eps * (1 + 1e-5)
    assert not batch.requires_grad


def test_the_ramp_bounds_the_perturbation(model: nn.Module) -> None:
    batch = hardened(model, Hardening(LINF4, steps=2, ramp=0.4), share=0.1)
    assert (batch - IMAGES).abs().max() <= LINF4.eps / 4 * (1 + 1e-5)


def test_the_warm_up_leaves_images_clean_and_the_ramp_begins_after_it(model: nn.Module) -> None:
    hardening = Hardening(LINF4, steps=2, warm_up=0.5, ramp=0.4)
    assert hardened(model, hardening, share=0.49) is IMAGES
    moved = (hardened(model, hardening, share=0.6) - IMAGES).abs().max()
    assert 0 < moved <= LINF4.eps / 4 * (1 + 1e-5)


def test_a_class_has_its_own_radius_and_the_ramp_is_common(model: nn.Module) -> None:
    hardening = Hardening(LINF4, steps=2, ramp=0.5, class_eps={CLASSES[1]: Fraction(8), CLASSES[3]: Fraction(1, 2)})
    for share, part in ((1.0, 1.0), (0.25, 0.5)):
        moved = (hardened(model, hardening, share=share) - IMAGES).abs().flatten(1).amax(1) * 255
        expected = torch.tensor([4.0, 8, 4, 0.5, 4, 4, 4, 4]) * part
        assert (moved <= expected * (1 + 1e-4)).all()
        assert (moved >= expected * 0.9).all()


def test_batch_statistics_are_never_taken_of_one_image(model: nn.Module) -> None:
    batch = hardened(model, Hardening(LINF4, steps=1, clean_share=0.875, batch_norm="train"))
    assert torch.equal(batch[:6], IMAGES[:6])
    assert ((batch - IMAGES).flatten(1).abs().amax(1)[6:] > 0).all()


def test_gradients_are_those_at_weights_moved_against_the_model(model: nn.Module) -> None:
    """By the formula, on a layer whose gradient is known."""
    layer = nn.Linear(3, 2, bias=True)
    inputs, before = torch.randn(5, 3, generator=seeded(2)), [value.detach().clone() for value in layer.parameters()]

    def loss() -> Tensor:
        return layer(inputs).square().sum()

    loss().backward()
    gradient = [value.grad.clone() for value in layer.parameters()]
    moved = before[0] + 0.1 * before[0].norm() * gradient[0] / gradient[0].norm()
    expected = torch.autograd.functional.jacobian(lambda w: (inputs @ w.T + before[1]).square().sum(), moved)
    move_weights_against(layer, loss, gamma=0.1)
    torch.testing.assert_close(layer.weight.grad, expected)
    assert all(torch.equal(value, value_before) for value, value_before in zip(layer.parameters(), before, strict=True))


def test_moved_weights_leave_no_trace_in_the_running_statistics(model: nn.Module) -> None:
    hardening = Hardening(LINF4, steps=1, awp=0.01)
    hardener = Hardener(model, hardening, function=model, objective=OBJECTIVE, classes=CLASSES)
    hardener.begin(seeded())
    batch = hardener.batch(IMAGES, LABELS, share=1.0)
    assert batch is not None
    perturbed = hardener.perturb(batch)
    hardener.loss(batch, perturbed)[0].backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = next(model.parameters()).grad
    hardener.sharpen(batch, perturbed)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not torch.equal(next(model.parameters()).grad, first)


def test_eval_attacks_what_is_deployed_and_train_what_is_trained(model: nn.Module) -> None:
    expected = model.eval()(IMAGES)
    torch.testing.assert_close(AttackedCopy(model, batch_norm="eval").now()(IMAGES), expected, rtol=1e-3, atol=1e-4)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train()
    assert not torch.allclose(model(IMAGES), expected, rtol=1e-2)
    torch.testing.assert_close(AttackedCopy(model, batch_norm="train").now()(IMAGES), model(IMAGES), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_the_copy_follows_the_model(model: nn.Module, batch_norm: Literal["eval", "train"]) -> None:
    attacked = AttackedCopy(model, batch_norm=batch_norm)
    before = attacked.now()(IMAGES)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    nn.functional.cross_entropy(model(IMAGES), LABELS).backward()
    optimiser.step()
    after = attacked.now()(IMAGES)
    assert not torch.allclose(before, after, rtol=1e-2)
    assert torch.equal(after, AttackedCopy(model, batch_norm=batch_norm).now()(IMAGES))
