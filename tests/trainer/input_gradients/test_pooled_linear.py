"""A linear layer behind a pooling gives what both layers give, whatever the size of the images, and follows the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from skinaudit.trainer.input_gradients.pooled_linear import PooledLinear


def layers(output: int | tuple[int, int]) -> tuple[nn.AdaptiveAvgPool2d, nn.Linear]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cells = output**2 if isinstance(output, int) else output[0] * output[1]
        return nn.AdaptiveAvgPool2d(output), nn.Linear(3 * cells, 5).requires_grad_(False)


@pytest.mark.parametrize("output", [1, 7, (2, 5)])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 3), (4, 1), (3, 7), (7, 7), (14, 9)])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_it_is_the_same_function(output: int | tuple[int, int], size: tuple[int, int], order: torch.memory_format) -> None:
    pool, layer = layers(output)
    features = torch.rand(4, 3, *size, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=order)
    found, expected = (features.clone().requires_grad_() for _ in range(2))
    answer, right = PooledLinear(pool, nn.Flatten(), layer)(found), nn.Sequential(pool, nn.Flatten(), layer)(expected)
    assert torch.allclose(answer, right, atol=1e-6)
    direction = torch.arange(20.0).view(4, 5)
    (answer * direction).sum().backward()
    (right * direction).sum().backward()
    assert torch.allclose(found.grad, expected.grad, atol=1e-5)  # type: ignore[arg-type]


def test_new_weights_are_seen() -> None:
    pool, layer = layers(7)
    joined, features = PooledLinear(pool, nn.Flatten(), layer), torch.rand(2, 3, 2, 2)
    before = joined(features)
    with torch.no_grad():
        layer.weight.copy_(2 * layer.weight)
        layer.bias.copy_(2 * layer.bias)
    assert torch.allclose(joined(features), 2 * before, atol=1e-6)


def test_the_product_is_computed_once() -> None:
    pool, layer = layers(7)
    joined = PooledLinear(pool, nn.Flatten(), layer)
    joined(torch.rand(2, 3, 2, 2))
    assert joined._product._kept is not None
    kept = joined._product._kept[2]
    joined(torch.rand(1, 3, 2, 2))
    assert joined._product._kept[2] is kept
    joined(torch.rand(1, 3, 2, 1))
    assert joined._product._kept[2] is not kept


def test_it_works_in_inference_mode_and_behind_it() -> None:
    pool, layer = layers(7)
    joined, features = PooledLinear(pool, nn.Flatten(), layer), torch.rand(2, 3, 2, 2)
    with torch.inference_mode():
        silent = joined(features)
        drawn_there = PooledLinear(pool, nn.Flatten(), nn.Linear(3 * 49, 5))
        drawn_there(features)
    leaf = features.clone().requires_grad_()
    answer = joined(leaf)
    answer.sum().backward()
    assert leaf.grad is not None
    assert torch.equal(silent, answer.detach())


def test_replaced_weights_are_seen() -> None:
    pool, layer = layers(7)
    joined, features = PooledLinear(pool, nn.Flatten(), layer), torch.rand(2, 3, 2, 2)
    before = joined(features) - layer.bias
    layer.weight = nn.Parameter(2 * layer.weight, requires_grad=False)
    assert torch.allclose(joined(features) - layer.bias, 2 * before, atol=1e-6)
