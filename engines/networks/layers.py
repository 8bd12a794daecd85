"""A classifier as a graph of layers in one canonical form: constants are folded, layers without effect are dropped.

Two files that compute the same function in different arrangements give the same layers: batch norm becomes part of its
convolution, the constants of a normalisation become one affine layer, and pools over the whole map become one kind of pool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FLOAT_STEP = 2.0**-21
"""Relative rounding error of a constant that was computed in float32: a few units in the last place."""
_LARGEST_MAP = 4096

Kind = Literal[
    "image",
    "convolution",
    "dense",
    "affine",
    "activation",
    "sum",
    "max pool",
    "pool",
    "flatten",
    "rounding",
    "cast",
    "other",
]
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Constant:
    """Constant numbers of a file. slack: float64 of the same shape, how far rounding may have moved each number."""

    value: Array
    slack: Array


@dataclass(frozen=True, eq=False)
class Extent:
    """Largest numbers of each channel over all folded steps, float64 (C,).

    largest: the largest absolute weight or bias of any step. smallest: each step has a largest absolute weight; this is the
    smallest of them. Two steps that undo each other can overflow or underflow the type in between, even if the result is
    right.
    """

    largest: Array
    smallest: Array


@dataclass(frozen=True, eq=False)
class Layer:
    """One step of a network.

    shape: of the result without the batch: (C, H, W) or (features,); empty if unknown. settings: further settings of the
    step, as plain numbers. origin: node of the file, for messages. extent: set for a layer that was folded from several
    steps.
    """

    kind: Kind
    inputs: tuple[Layer, ...]
    shape: tuple[int, ...]
    origin: str
    settings: tuple[Any, ...] = ()
    weight: Constant | None = None
    bias: Constant | None = None
    extent: Extent | None = None

    def sizes(self) -> Extent:
        """Largest numbers of each channel over all steps that the layer was folded from. The layer must have weights."""
        return self.extent or _extent_of(self.weight, self.bias)


def constant(value: Any, *, relative: float = FLOAT_STEP, absolute: float = 0.0) -> Constant:
    """Numbers whose slack is `relative` times each number plus `absolute`."""
    numbers = np.asarray(value, np.float64)
    return Constant(numbers, np.abs(numbers) * relative + absolute)


def image(channels: int, size: int) -> Layer:
    """The input layer."""
    return Layer("image", (), (channels, size, size), "the image")


@dataclass(frozen=True)
class Window:
    """How a window moves over a map. pads: (top, left, bottom, right)."""

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    ceil: bool = False

    def result(self, sides: tuple[int, ...]) -> tuple[int, int]:
        """Height and width of the result."""
        rounded = math.ceil if self.ceil else math.floor
        top, left, bottom, right = self.pads
        spans = [(kernel - 1) * by + 1 for kernel, by in zip(self.kernel, self.dilations, strict=True)]
        padded = (sides[0] + top + bottom - spans[0], sides[1] + left + right - spans[1])
        return (rounded(padded[0] / self.strides[0]) + 1, rounded(padded[1] / self.strides[1]) + 1)


def convolution(
    source: Layer, weight: Constant, bias: Constant | None, window: Window, *, groups: int, origin: str
) -> Layer:
    """weight: (O, I / groups, height, width)."""
    shape = (weight.value.shape[0], *window.result(source.shape[1:])) if len(source.shape) == 3 else ()
    bias = bias or constant(np.zeros(weight.value.shape[0]))
    return Layer("convolution", (source,), shape, origin, (window, groups), weight, bias)


def dense(source: Layer, weight: Constant, bias: Constant | None, *, origin: str) -> Layer:
    """weight: (O, I)."""
    bias = bias or constant(np.zeros(len(weight.value)))
    return Layer("dense", (source,), weight.value.shape[:1], origin, (), weight, bias)


def affine(source: Layer, factor: Constant, shift: Constant, *, origin: str) -> Layer:
    """factor * source + shift, each with one number per channel; folded into the layer before it if that has weights.

    A rounding in between is moved behind the product and its range is scaled. This is not done if the range starts or ends
    at 0, because then the rounding also acts as a ReLU.
    """
    if source.kind == "cast" or (source.kind == "rounding" and source.settings[0] < 0 < source.settings[1]):
        inner = affine(source.inputs[0], factor, shift, origin=origin)
        settings = _moved_range(source.settings, factor, shift) if source.kind == "rounding" else source.settings
        return replace(source, inputs=(inner,), settings=settings)
    if source.weight is None or source.bias is None:
        if bool((factor.value == 1).all() and (shift.value == 0).all()):
            return source
        return Layer("affine", (source,), source.shape, origin, (), factor, shift)
    shape = (-1,) + (1,) * (source.weight.value.ndim - 1)
    weight = _product(source.weight, factor, shape=shape)
    bias = _total(_product(source.bias, factor, shape=(-1,)), shift)
    before, now = source.sizes(), _extent_of(weight, bias)
    extent = Extent(np.maximum(before.largest, now.largest), np.minimum(before.smallest, now.smallest))
    return replace(source, weight=weight, bias=bias, extent=extent)


def _extent_of(weight: Constant | None, bias: Constant | None) -> Extent:
    assert weight is not None
    assert bias is not None
    weights = np.abs(weight.value).reshape(len(weight.value), -1).max(axis=1, initial=0)
    return Extent(np.maximum(weights, np.abs(bias.value)), weights)


def _moved_range(settings: tuple[float, float, float], factor: Constant, shift: Constant) -> tuple[float, float, float]:
    """Range and step of a rounding, (low, high, step), after `factor` and `shift` are applied to its channels."""
    low, high, step = settings
    ends = np.concatenate([factor.value * low + shift.value, factor.value * high + shift.value])
    return (min(low, float(ends.min())), max(high, float(ends.max())), step * float(np.abs(factor.value).max()))


def batch_norm(source: Layer, parts: Sequence[Constant], *, epsilon: float, origin: str) -> Layer:
    """parts: weight, bias, mean and variance of each channel."""
    weight, bias, mean, variance = parts
    spread = variance.value + epsilon
    factor = weight.value / np.sqrt(spread)
    off = weight.slack / np.sqrt(spread) + np.abs(factor) * (variance.slack / spread / 2 + FLOAT_STEP)
    ones = Constant(np.ones_like(factor), np.zeros_like(factor))
    centred = affine(source, ones, Constant(-mean.value, mean.slack), origin=origin)
    return affine(centred, Constant(factor, off), bias, origin=origin)


def activation(source: Layer, low: float, high: float, *, origin: str) -> Layer:
    """Clip values to [low, high]."""
    if source.kind == "activation":
        before = source.settings
        return replace(source, settings=(max(low, before[0]), min(high, before[1])))
    if (low, high) == (-math.inf, math.inf):
        return source
    return Layer("activation", (source,), source.shape, origin, (low, high))


def pool(source: Layer, matrix: Array, sides: tuple[int, int], *, origin: str) -> Layer:
    """Weighted means of a map. matrix: (positions of the result, positions of the map), rows that sum to 1."""
    if matrix.shape[0] == matrix.shape[1] and np.allclose(matrix, np.eye(len(matrix)), atol=1e-6):
        return source
    return Layer("pool", (source,), (source.shape[0], *sides), origin, sides, constant(matrix))


def averages(sides: tuple[int, ...], window: Window) -> Array | None:
    """Matrix of an average pool without padding over a map with these sides; None if the matrix would be too large."""
    if any(window.pads) or math.prod(sides) > _LARGEST_MAP:
        return None
    rows = []
    for top in range(0, sides[0] - window.kernel[0] + 1, window.strides[0]):
        for left in range(0, sides[1] - window.kernel[1] + 1, window.strides[1]):
            area = np.zeros(sides)
            area[top : top + window.kernel[0], left : left + window.kernel[1]] = 1
            rows.append(area.reshape(-1) / area.sum())
    return np.array(rows)


def adaptive(sides: tuple[int, ...], result: tuple[int, int]) -> Array:
    """Matrix of an average pool to a result with given sides, for any sides of the map (torch's AdaptiveAvgPool2d)."""
    rows = []
    for row in range(result[0]):
        for column in range(result[1]):
            area = np.zeros(sides)
            spans = [
                slice(at * side // count, -(-(at + 1) * side // count))
                for at, side, count in zip((row, column), sides, result, strict=True)
            ]
            area[spans[0], spans[1]] = 1
            rows.append(area.reshape(-1) / area.sum())
    return np.array(rows)


def flatten(source: Layer, *, origin: str) -> Layer:
    """(C, H, W) as one row of features. A map of 1 x 1 is already the row of its channels."""
    if len(source.shape) < 2:
        return source
    if math.prod(source.shape[1:]) == 1:
        return replace(source, shape=source.shape[:1])
    return Layer("flatten", (source,), (math.prod(source.shape),), origin)


def layers_of(root: Layer) -> list[Layer]:
    """Every layer that the root depends on, each once."""
    reached: dict[int, Layer] = {}
    waiting = [root]
    while waiting:
        layer = waiting.pop()
        if id(layer) not in reached:
            reached[id(layer)] = layer
            waiting += layer.inputs
    return list(reached.values())


def _product(first: Constant, second: Constant, *, shape: tuple[int, ...]) -> Constant:
    value, slack = second.value.reshape(shape), second.slack.reshape(shape)
    product = first.value * value
    return Constant(product, first.slack * np.abs(value) + np.abs(first.value) * slack + np.abs(product) * FLOAT_STEP)


def _total(first: Constant, second: Constant) -> Constant:
    total = first.value + second.value
    return Constant(total, first.slack + second.slack + (np.abs(first.value) + np.abs(second.value)) * FLOAT_STEP)


def max_pool(source: Layer, window: Window, *, origin: str) -> Layer:
    """The largest value in each window."""
    return Layer("max pool", (source,), (source.shape[0], *window.result(source.shape[1:])), origin, (window,))


def arithmetic(source: Layer, operation: str, value: Constant, *, origin: str) -> Layer | None:
    """A layer combined with one constant, or one per channel, by add, sub, mul or div; None for other operations."""
    channels = _by_channel(value, source)
    if channels is None or operation not in ("add", "sub", "mul", "div"):
        return None
    ones, zeros = constant(np.ones_like(channels.value)), constant(np.zeros_like(channels.value))
    if operation == "mul":
        return affine(source, channels, zeros, origin=origin)
    if operation == "div":
        return affine(source, constant(1 / channels.value), zeros, origin=origin)
    sign = 1 if operation == "add" else -1
    return affine(source, ones, Constant(sign * channels.value, channels.slack), origin=origin)


def _by_channel(value: Constant, source: Layer) -> Constant | None:
    """A constant as one number per channel of `source`; None if it differs along another axis."""
    channels = source.shape[0] if source.shape else 0
    if value.value.size == 1:
        return Constant(np.full(channels, value.value.item()), np.full(channels, value.slack.item())) if channels else None
    shape = value.value.shape
    wanted = (channels,) + (1,) * (len(source.shape) - 1)
    if not channels or value.value.size != channels or (1,) * (len(source.shape) + 1 - len(shape)) + shape != (1, *wanted):
        return None
    return Constant(value.value.reshape(-1), value.slack.reshape(-1))
