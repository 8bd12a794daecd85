"""Hardening replaces images and touches nothing else."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.hardening import AttackedCopy, harden_batch
from skinaudit.trainer.models import build
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


def hardened(model: nn.Module, hardening: Hardening, *, share: float) -> Tensor:
    attacked = AttackedCopy(model, batch_norm=hardening.batch_norm)
    return harden_batch(attacked, IMAGES, LABELS, hardening=hardening, share=share, generator=seeded())


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
@pytest.mark.parametrize("training", [True, False])
def test_weights_statistics_and_mode_are_left_alone(model: nn.Module, batch_norm: str, training: bool) -> None:
    model.train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hardening = Hardening(LINF4, steps=2, batch_norm=batch_norm)  # type: ignore[arg-type]
    harden_batch(
        AttackedCopy(model, batch_norm=hardening.batch_norm),
        IMAGES,
        LABELS,
        hardening=hardening,
        share=1.0,
        generator=seeded(),
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(layer.training is training for layer in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
@pytest.mark.parametrize(("clean_share", "clean"), [(0.0, 0), (0.25, 2), (0.5, 4), (1.0, 8)])
def test_the_first_part_stays_clean_and_the_rest_moves_within_eps(
    model: nn.Module, batch_norm: str, clean_share: float, clean: int
) -> None:
    hardening = Hardening(LINF4, steps=2, clean_share=clean_share, batch_norm=batch_norm)  # type: ignore[arg-type]
    found = harden_batch(
        AttackedCopy(model, batch_norm=hardening.batch_norm),
        IMAGES,
        LABELS,
        hardening=hardening,
        share=1.0,
        generator=seeded(),
    )
    moved = (found - IMAGES).abs().flatten(1).amax(1)
    assert torch.equal(found[:clean], IMAGES[:clean])
    assert (moved[clean:] > LINF4.eps / 2).all()
    assert moved.max() <= LINF4.eps * (1 + 1e-5)
    assert not found.requires_grad


def test_the_ramp_bounds_the_perturbation(model: nn.Module) -> None:
    hardening = Hardening(LINF4, steps=2, ramp=0.4)
    found = harden_batch(
        AttackedCopy(model, batch_norm=hardening.batch_norm),
        IMAGES,
        LABELS,
        hardening=hardening,
        share=0.1,
        generator=seeded(),
    )
    assert (found - IMAGES).abs().max() <= LINF4.eps / 4 * (1 + 1e-5)


def test_the_warm_up_leaves_images_clean_and_the_ramp_begins_after_it(model: nn.Module) -> None:
    hardening = Hardening(LINF4, steps=2, warm_up=0.5, ramp=0.4)
    assert hardened(model, hardening, share=0.49) is IMAGES
    moved = (hardened(model, hardening, share=0.6) - IMAGES).abs().max()
    assert 0 < moved <= LINF4.eps / 4 * (1 + 1e-5)


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


def test_batch_statistics_are_never_taken_of_one_image(model: nn.Module) -> None:
    hardening = Hardening(LINF4, steps=1, clean_share=0.875, batch_norm="train")
    found = harden_batch(
        AttackedCopy(model, batch_norm=hardening.batch_norm),
        IMAGES,
        LABELS,
        hardening=hardening,
        share=1.0,
        generator=seeded(),
    )
    assert torch.equal(found[:6], IMAGES[:6])
    assert ((found - IMAGES).flatten(1).abs().amax(1)[6:] > 0).all()
