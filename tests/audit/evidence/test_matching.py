"""Two networks compared number by number: what rounding explains is the same, what it does not is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.artifacts.precisions import KINDS
from skinaudit.audit.evidence.matching import Allowed, DiffersError, Matcher
from skinaudit.engines.networks import layers
from skinaudit.engines.networks.layers import Constant, Layer, constant
from skinaudit.engines.networks.stored import half_units

WIDE, CLASSES, SLACK = 64, 7, 0.01
HALF = Allowed(rounding=KINDS["fp16"].rounding)
FIRST = np.random.default_rng(0).normal(size=(WIDE, 192))
LAST = np.random.default_rng(1).normal(size=(CLASSES, WIDE))
UNCHANGED = constant(FIRST)


def network(first: Constant, last: NDArray[np.float64], bias: NDArray[np.float64] | None = None) -> Layer:
    flat = layers.flatten(layers.image(3, 8), origin="flatten")
    hidden = layers.dense(flat, first, None if bias is None else constant(bias), origin="first")
    return layers.dense(layers.activation(hidden, 0.0, np.inf, origin="relu"), constant(last), None, origin="last")


def with_bias(bias: Constant, first: Constant = UNCHANGED, last: NDArray[np.float64] = LAST) -> Layer:
    model = network(first, last)
    activation = model.inputs[0]
    hidden = replace(activation.inputs[0], bias=bias)
    return replace(model, inputs=(replace(activation, inputs=(hidden,)),))


def rounded(value: NDArray[np.float64]) -> Constant:
    return Constant(value, SLACK * np.abs(value))


def test_an_error_that_all_factors_share_does_not_make_the_answers_scaled() -> None:
    """The factors of the first layer are known to 0.2%, and off by as much all in one direction."""
    scaled = network(rounded(FIRST * 2 * 1.001), LAST / 2)
    assert Matcher().match(network(constant(FIRST), LAST), scaled).plain


def test_answers_that_are_scaled_by_more_than_rounding_are_not_plain() -> None:
    scaled = network(rounded(FIRST * 2), LAST / 2 * 1.02)
    assert not Matcher().match(network(constant(FIRST), LAST), scaled).plain


def test_weights_of_inputs_that_are_always_0_change_nothing() -> None:
    """What export clears before int8: channels without weights of their own and a bias that is not positive."""
    first, bias, last = FIRST.copy(), np.ones(WIDE), LAST.copy()
    first[5], bias[5], last[:, 5] = 0, -0.5, 1e5
    cleared = last.copy()
    cleared[:, 5] = 0
    assert Matcher().match(network(constant(first), last, bias), network(constant(first), cleared, bias)).plain
    bias[5] = 0.5
    with pytest.raises(DiffersError, match="7 of its 7 channels have other weights than last"):
        Matcher().match(network(constant(first), last, bias), network(constant(first), cleared, bias))


def test_a_factor_that_rounded_weights_hide_is_told_by_the_bias() -> None:
    """Export moved a channel by a fifth of a percent: its weights fit unmoved as well, its bias does not."""
    factors, bias = np.ones(WIDE), np.random.default_rng(2).uniform(0.5, 1, WIDE)
    factors[3] = 1.002
    expected = network(constant(FIRST), LAST, bias)
    moved = network(rounded(FIRST * factors[:, None]), LAST / factors, bias * factors)
    assert Matcher().match(expected, moved).plain
    bias_alone = bias.copy()
    bias_alone[3] *= 1.05
    with pytest.raises(DiffersError, match="1 of its 64 channels have other weights than first"):
        Matcher().match(expected, network(rounded(FIRST), LAST, bias_alone))


def test_a_rounding_that_cuts_negative_numbers_is_no_rounding() -> None:
    """Codes without a sign stand in for a ReLU, and for nothing else: an answer below 0 would become 0."""

    def coded(below: Layer, low: float) -> Layer:
        return Layer("rounding", (below,), below.shape, "codes", (low, 25.5, 0.1))

    model, flat = network(constant(FIRST), LAST), layers.flatten(layers.image(3, 8), origin="flatten")
    hidden = layers.dense(flat, constant(FIRST), None, origin="first")
    allowed = Allowed(("rounding",))
    for fused in (coded(hidden, 0.0), coded(layers.activation(hidden, 0.0, np.inf, origin="relu"), 0.0)):
        dense_layer = layers.dense(coded(fused, 0.0), constant(LAST), None, origin="last")
        assert Matcher(allowed).match(model, coded(dense_layer, -12.8)).plain
        with pytest.raises(DiffersError, match="rounds every negative number to 0"):
            Matcher(allowed).match(model, coded(dense_layer, 0.0))


def test_tiny_weights_in_a_coarse_type_are_named() -> None:
    """Their error is below the smallest step of fp16, but a tenth of each number is nothing that fp16 explains."""
    tiny = FIRST * 1e-8
    model, coarse = network(constant(tiny), LAST * 1e8), network(Constant(tiny, 0.1 * np.abs(tiny)), LAST * 1e8)
    with pytest.raises(DiffersError, match="rounded more coarsely") as named:
        Matcher(HALF).match(model, coarse)
    assert named.value.actual.origin == "first"


def test_a_tiny_bias_in_a_coarse_type_is_named_beside_tiny_weights() -> None:
    tiny, bias = constant(FIRST * 1e-8), np.random.default_rng(3).uniform(1e-8, 2e-8, WIDE)
    coarse = with_bias(Constant(bias, 0.1 * bias), first=tiny, last=LAST * 1e8)
    with pytest.raises(DiffersError, match="rounded more coarsely") as named:
        Matcher(HALF).match(network(tiny, LAST * 1e8, bias), coarse)
    assert named.value.actual.origin == "first"


def test_a_bias_in_8_bits_is_named() -> None:
    bias = np.random.default_rng(3).uniform(2e-5, 3e-5, WIDE)
    with pytest.raises(DiffersError, match="rounded more coarsely") as named:
        Matcher(HALF).match(network(constant(FIRST), LAST, bias), with_bias(Constant(bias, 2.0**-4 * bias)))
    assert named.value.actual.origin == "first"


@pytest.mark.parametrize("scale", [0.0, 2e-8, 1e-7, 1e-6, 1e-3])
def test_a_bias_in_fp16_may_be_zero_or_tiny(scale: float) -> None:
    """Below 6e-5 fp16 keeps fewer and fewer digits, but what is lost is nothing beside the weights."""
    bias = scale * np.random.default_rng(3).uniform(-1, 1, WIDE)
    half = bias.astype(np.float16).astype(np.float64)
    stored = Constant(half, half_units(half, 11, least=2.0**-25))
    assert Matcher(HALF).match(network(constant(FIRST), LAST, bias), with_bias(stored)).plain
