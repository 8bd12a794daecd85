"""Passes in bfloat16 point where the exact ones do, and follow the weights of the model in training."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.tests.drawn_models import drawn
from skinaudit.trainer import computing, half_passes
from skinaudit.trainer.computing import FP32, Computing, check_computing
from skinaudit.trainer.half_passes import HalfPasses
from skinaudit.trainer.hardener import check_half_attack
from skinaudit.trainer.inner_attack import AttackedCopy
from skinaudit.trainer.input_gradients.fused import fused
from skinaudit.trainer.models import build, folded
from skinaudit.trainer.recipes import Hardening

_RANDOM = torch.Generator().manual_seed(1)
IMAGES = 0.8 * torch.rand(8, 3, 1, 1, generator=_RANDOM) + 0.2 * torch.rand(8, 3, 32, 32, generator=_RANDOM)
BF16_ATTACK = Computing("bf16-attack")

computes = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    reason="oneDNN computes no convolutions in bfloat16 on this CPU",
)
"""Such a CPU may still be slow at it: then the command refuses, and these tests run."""


def gradient_of(model: nn.Module, images: Tensor = IMAGES) -> tuple[Tensor, Tensor]:
    leaf = images.detach().requires_grad_()
    logits = model(leaf)
    return logits.detach(), torch.autograd.grad(logits.square().sum(), leaf)[0]


@computes
@pytest.mark.parametrize("arch", ["mobilenet", "vgg16", "vgg16_bn"])
def test_gradients_point_where_the_exact_ones_do(arch: str) -> None:
    model = folded(drawn(arch))
    logits, gradient = gradient_of(HalfPasses(model))
    exact_logits, exact = gradient_of(fused(model))
    assert gradient.dtype == logits.dtype == torch.float32
    assert gradient.shape == IMAGES.shape
    assert functional.cosine_similarity(gradient.flatten(1), exact.flatten(1)).median() > 0.9
    assert 0 < (logits - exact_logits).abs().max() < 0.05 * exact_logits.abs().max()


@computes
@pytest.mark.parametrize(("channels", "groups"), [(8, 1), (8, 4), (8, 8), (16, 8)])
@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (3, 2, 0), (1, 2, 0), (5, 2, 2)])
def test_each_kind_of_convolution(channels: int, groups: int, size: int, kernel: int, stride: int, padding: int) -> None:
    """One layer, with a first one before it, so that it computes in bfloat16."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(),
        nn.Conv2d(8, channels, kernel, stride, padding, groups=groups), nn.ReLU(), nn.Flatten(),
    )  # fmt: skip
    frozen = model.to(memory_format=torch.channels_last).requires_grad_(False)
    images = torch.rand(4, 3, size, size)
    _, gradient = gradient_of(HalfPasses(frozen), images)
    _, exact = gradient_of(frozen, images)
    assert functional.cosine_similarity(gradient.flatten(), exact.flatten(), dim=0) > 0.999


@computes
def test_the_first_layer_sees_changes_of_a_pixel_that_bfloat16_would_round_away() -> None:
    half = HalfPasses(folded(drawn("mobilenet")))
    images = torch.full_like(IMAGES, 0.75)
    moved = images + 1 / 2**10
    assert torch.equal(images.bfloat16(), moved.bfloat16())
    assert not torch.equal(half(moved), half(images))


@computes
def test_the_attack_of_a_training_follows_the_weights() -> None:
    model = drawn("mobilenet")
    attacked = AttackedCopy(model, batch_norm="eval", computing=BF16_ATTACK)
    before, _ = gradient_of(attacked.now())
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(1.1)
    after, _ = gradient_of(attacked.now())
    assert not torch.equal(before, after)
    again, _ = gradient_of(AttackedCopy(model, batch_norm="eval", computing=BF16_ATTACK).now())
    assert torch.equal(after, again)


@computes
def test_without_batch_norm_the_attack_follows_the_weights_too() -> None:
    """A VGG16 has none, so its copy need not be folded."""
    model = drawn("vgg16")
    attacked = AttackedCopy(model, batch_norm="train", computing=BF16_ATTACK)
    before, _ = gradient_of(attacked.now())
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.3)
    after, _ = gradient_of(attacked.now())
    exact, _ = gradient_of(AttackedCopy(model, batch_norm="train").now())
    assert (after - exact).abs().max() < 0.1 * (before - exact).abs().max()


PGD = Hardening(ThreatModel("linf", Fraction(2)))


@pytest.mark.parametrize(
    ("chosen", "arch", "for_int8", "message"),
    [
        (None, "mobilenet", 0.0, "without hardening there is no attack"),
        (replace(PGD, method="free"), "mobilenet", 0.0, "in hardening free there is no attack"),
        (replace(PGD, batch_norm="train"), "mobilenet", 0.0, "needs --attack-batch-norm eval"),
        (PGD, "mobilenet", 0.25, "not with --for-int8"),
        (PGD, "mobilenet_v2", 0.0, "only for one sequence of convolutions"),
    ],
)
def test_what_it_would_not_help_is_refused_at_once(
    chosen: Hardening | None, arch: str, for_int8: float, message: str
) -> None:
    check_half_attack(FP32, chosen, arch=arch, for_int8=for_int8)
    with pytest.raises(InvalidInputError, match=f"--precision bf16-attack: .*{message}"):
        check_half_attack(BF16_ATTACK, chosen, arch=arch, for_int8=for_int8)


@computes
@pytest.mark.parametrize("arch", ["mobilenet", "vgg16", "vgg16_bn"])
@pytest.mark.parametrize("method", ["pgd", "trades", "mart", "fgsm-rs"])
def test_what_it_helps_is_accepted(arch: str, method: str) -> None:
    check_half_attack(BF16_ATTACK, replace(PGD, method=method), arch=arch, for_int8=0.0)


@pytest.mark.parametrize("model", [folded(build("mobilenet_v2", width=0.25, size=32)), nn.Flatten(), nn.Sequential()])
def test_other_models_are_refused(model: nn.Module) -> None:
    with pytest.raises(InvalidInputError, match="bf16-attack: only for one sequence of convolutions"):
        HalfPasses(model)


def test_a_machine_without_matrix_units_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(computing, "has_matrix_units", lambda: True)
    check_computing(BF16_ATTACK, cpu)
    with pytest.raises(InvalidInputError, match="needs a CPU with matrix units"):
        check_computing(BF16_ATTACK, torch.device("cuda"))
    monkeypatch.setattr(computing, "has_matrix_units", lambda: False)
    with pytest.raises(InvalidInputError, match="needs a CPU with matrix units"):
        check_computing(BF16_ATTACK, cpu)


def test_matrix_units_need_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert half_passes.has_matrix_units()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not half_passes.has_matrix_units()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert not half_passes.has_matrix_units()
