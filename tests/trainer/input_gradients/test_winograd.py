"""Winograd's algorithm computes the convolution that it stands for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from skinaudit.trainer.input_gradients import winograd

GENERATOR = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def largest_error(found: Tensor, right: Tensor) -> float:
    return float((found - right).abs().amax() / right.abs().amax())


@pytest.mark.parametrize(("height", "width"), [(4, 4), (8, 12), (7, 7), (1, 1), (5, 30), (14, 3)])
@pytest.mark.parametrize("block", [1, 1 << 21])
@pytest.mark.parametrize("clamp", [False, True])
def test_it_is_the_convolution(height: int, width: int, block: int, clamp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "_BLOCK", block)
    images, weight, bias = drawn(5, 6, height, width), drawn(9, 6, 3, 3), drawn(9)
    for given in (images, images.contiguous(memory_format=torch.channels_last)):
        for term in (bias, None):
            right = functional.conv2d(given, weight, term, padding=1)
            found = winograd.convolved(given, winograd.transformed(weight), term, clamp=clamp)
            assert found.is_contiguous(memory_format=torch.channels_last)
            assert largest_error(found, right.relu() if clamp else right) < 1e-5


def test_turned_weights_give_the_gradient() -> None:
    images, weight, gradient = drawn(5, 6, 8, 8).requires_grad_(), drawn(9, 6, 3, 3), drawn(5, 9, 8, 8)
    (right,) = torch.autograd.grad(functional.conv2d(images, weight, padding=1), images, gradient)
    found = winograd.convolved(gradient, winograd.transformed(winograd.turned(weight)), None, clamp=False)
    assert largest_error(found, right) < 1e-5


def test_rounding_stays_small_with_many_channels() -> None:
    """As in the deepest layers of VGG16. With the usual points 0, 1, -1, 2, -2 the error is above this bound."""
    images, weight = drawn(16, 512, 4, 4).relu(), drawn(512, 512, 3, 3) / 68
    right = functional.conv2d(images.double(), weight.double(), padding=1)
    found = winograd.convolved(images, winograd.transformed(weight), None, clamp=False).double()
    assert largest_error(found, right) < 5e-6


@pytest.mark.parametrize(
    ("layer", "suits"),
    [
        (nn.Conv2d(64, 128, 3, padding=1), True),
        (nn.Conv2d(128, 64, 3, padding=1), True),
        (nn.Conv2d(64, 64, 3, padding=1), False),
        (nn.Conv2d(32, 512, 3, padding=1), False),
        (nn.Conv2d(128, 128, 3), False),
        (nn.Conv2d(128, 128, 3, stride=2, padding=1), False),
        (nn.Conv2d(128, 128, 3, padding=2, dilation=2), False),
        (nn.Conv2d(128, 128, 3, padding=1, groups=128), False),
        (nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(128, 128, 5, padding=1), False),
    ],
    ids=str,
)
def test_which_layers_suit(layer: nn.Conv2d, suits: bool) -> None:
    assert winograd.suits(layer) == suits


@pytest.mark.parametrize(
    ("count", "size", "saves"),
    [
        (32, 4, True),
        (31, 4, False),
        (8, 8, True),
        (7, 8, False),
        (8, 7, True),
        (1, 28, True),
        (100, 2, False),
        (100, 5, False),
    ],
)
def test_which_images_it_is_used_for(count: int, size: int, saves: bool) -> None:
    assert winograd.saves_time(torch.empty(count, 1, size, size)) == saves
