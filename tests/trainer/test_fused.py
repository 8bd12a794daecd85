"""Convolutions with their ReLU give the bits of the layers that they stand for, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from skinaudit.trainer.attacks.pgd import input_gradient
from skinaudit.trainer.fused import ConvolutionReLU, fused
from skinaudit.trainer.models import build, folded

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(3)


def parts(model: nn.Module) -> list[ConvolutionReLU]:
    return [layer for layer in model.modules() if isinstance(layer, ConvolutionReLU)]


@pytest.mark.parametrize(
    ("arch", "width", "count"), [("mobilenet", 0.25, 27), ("vgg16", 0.1, 13), ("mobilenet_v2", 0.25, 0)]
)
@pytest.mark.parametrize("images", [1, 3])
def test_a_model_keeps_its_bits(arch: str, width: float, count: int, images: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        frozen = folded(build(arch, width=width, size=32))
    joined = fused(frozen)
    assert len(parts(joined)) == count
    for gradient, expected in zip(
        input_gradient(joined, IMAGES[:images], LABELS[:images]),
        input_gradient(frozen, IMAGES[:images], LABELS[:images]),
        strict=True,
    ):
        assert torch.equal(gradient, expected)


def test_weights_are_shared() -> None:
    frozen = folded(build("mobilenet", width=0.1, size=32))
    joined = fused(frozen)
    with torch.no_grad():
        for weight in frozen.parameters():
            weight.mul_(0.5)
        assert torch.equal(joined(IMAGES), frozen(IMAGES))


def test_a_gradient_that_others_hold_is_not_written_to() -> None:
    """Behind the ReLU the answer is used twice: by the pooling, whose gradient is one value expanded, and by itself."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).requires_grad_(False)
    joined = fused(model)
    (layer,) = parts(joined)
    assert not layer._owns_gradient
    for gradient, expected in zip(
        input_gradient(joined, IMAGES, LABELS), input_gradient(model, IMAGES, LABELS), strict=True
    ):
        assert torch.equal(gradient, expected)
    before_a_convolution = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity(), nn.Sequential(nn.ReLU()), nn.Conv2d(4, 4, 1))
    assert [layer._owns_gradient for layer in parts(fused(before_a_convolution))] == [True]


def test_other_layers_stay_what_they_are() -> None:
    text_padding = nn.Conv2d(3, 4, 3, padding="same")
    circular = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    for layers in ([text_padding, nn.ReLU()], [circular, nn.ReLU()], [nn.Conv2d(3, 4, 1), nn.ReLU6()], [nn.ReLU()]):
        joined = fused(nn.Sequential(*layers))
        assert [*joined] == layers


def test_without_onednn_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    assert fused(model) is model


def test_a_model_without_such_layers_is_itself() -> None:
    model = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(48, 4)), nn.Sigmoid())
    assert fused(model) is model
    once = fused(folded(build("mobilenet", width=0.1, size=32)))
    assert fused(once) is once
