"""What is derived from weights is kept while they are the same, and never longer."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from skinaudit.trainer.input_gradients.derived_weights import DerivedWeights


def test_it_is_computed_once() -> None:
    calls = []
    derived = DerivedWeights(lambda weight, *further: calls.append(further) or weight * 2)  # type: ignore[func-returns-value]
    weight = nn.Parameter(torch.ones(3))
    assert derived.of(weight, 1) is derived.of(weight, 1)
    assert calls == [(1,)]
    derived.of(weight, 2)
    assert calls == [(1,), (2,)]


def test_changes_are_seen() -> None:
    derived = DerivedWeights(torch.clone)
    layer = nn.Linear(2, 2).requires_grad_(False)

    def current() -> Tensor:
        return derived.of(layer.weight)

    current()
    layer.weight.mul_(2)
    assert torch.equal(current(), layer.weight)
    layer.weight = nn.Parameter(torch.full((2, 2), 7.0))
    assert torch.equal(current(), layer.weight)
    for number in range(20):  # torch gives freed memory away again
        layer.weight = None  # type: ignore[assignment]
        layer.weight = nn.Parameter(torch.full((2, 2), float(number)))
        assert torch.equal(current(), layer.weight)


def test_the_same_memory_in_another_order_is_another_weight() -> None:
    derived, weight = DerivedWeights(torch.clone), nn.Parameter(torch.arange(4.0).view(2, 2), requires_grad=False)
    derived.of(weight)
    weight.data = weight.data.t()
    assert torch.equal(derived.of(weight), weight)


def test_copies_keep_nothing() -> None:
    derived = DerivedWeights(torch.clone)
    derived.of(torch.ones(2))
    assert derived._kept is not None
    assert copy.deepcopy(derived)._kept is None


def test_a_result_of_inference_can_be_used_for_gradients() -> None:
    derived, weight = DerivedWeights(torch.square), torch.ones(3)
    with torch.inference_mode():
        kept = derived.of(weight)
    assert not kept.is_inference()
    assert not kept.requires_grad
