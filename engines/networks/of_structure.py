"""The layers of a run's model: its recorded structure filled with its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.printable import show
from skinaudit.artifacts.structure import STEP, WEIGHT, Structure
from skinaudit.engines.networks import layers
from skinaudit.engines.networks.layers import Constant, Layer, Window, constant
from skinaudit.errors import InvalidInputError, reason_of

Weights = Mapping[str, NDArray[Any]]
_LARGEST_POOL = 64
"""Largest side of an adaptive pool's result; classifiers use 1 or 7."""


def network_of(structure: Structure, weights: Weights) -> Layer:
    """The layer that computes the logits.

    Raises KeyError for a tensor missing from `weights`, and InvalidInputError, which names the step, for arguments that do
    not fit the operator.
    """
    constants = {
        name: np.array(value).reshape(structure.shapes[name]) for name, value in structure.constants.items()
    }  # fmt: skip
    tensors: Weights = {**weights, **constants}
    layer_of: dict[str, Layer] = {structure.input: layers.image(3, structure.size)}
    for step in structure.steps:
        arguments = [_resolved(argument, layer_of, tensors) for argument in step.arguments]
        try:
            with np.errstate(all="ignore"):  # comparisons with NaN and infinity are false
                layer = _layer(step.operator, arguments, f"{step.name} ({step.operator})")
            if not isinstance(layer, Layer):
                raise TypeError("it takes a step")
            layer_of[step.name] = layer
        # A damaged file can pass anything to an operator, and each operator fails with its own error types.
        except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"step {show(step.name)} has arguments that {show(step.operator)} does not take ({reason_of(error)})"
            ) from error
    return layer_of[structure.output]


def _resolved(argument: Any, layer_of: Mapping[str, Layer], tensors: Weights) -> Any:
    if isinstance(argument, list):
        return [_resolved(item, layer_of, tensors) for item in argument]
    if isinstance(argument, str) and argument.startswith(STEP):
        return layer_of[argument.removeprefix(STEP)]
    if isinstance(argument, str) and argument.startswith(WEIGHT):
        return constant(tensors[argument.removeprefix(WEIGHT)])
    return argument


def _layer(operator: str, arguments: list[Any], origin: str) -> Layer:
    name = operator.partition(".")[0].rstrip("_")
    make = _OPERATORS.get(name)
    layer = None if make is None else make(_Call(name, arguments, origin))
    if layer is not None:
        return layer
    inputs = tuple(argument for argument in arguments if isinstance(argument, Layer))
    settings = tuple(str(argument) for argument in arguments if not isinstance(argument, Layer | Constant))
    return Layer("other", inputs, (), origin, (operator, settings))


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of an operator. source: its first argument, a layer."""

    name: str
    arguments: list[Any]
    origin: str

    @property
    def source(self) -> Layer:
        layer: Layer = self.arguments[0]
        return layer

    def get(self, place: int, default: Any) -> Any:
        value = self.arguments[place] if place < len(self.arguments) else None
        return default if value is None or value == [] else value


def _convolution(call: _Call) -> Layer | None:
    _, weight = call.arguments[:2]
    if call.name == "convolution" and call.get(6, False):
        return None  # a transposed convolution
    pads = _pair(call.get(4, 0))
    groups = call.get(8 if call.name == "convolution" else 6, 1)
    window = Window(
        weight.value.shape[2:], _pair(call.get(3, 1)), (pads[0], pads[1], pads[0], pads[1]), _pair(call.get(5, 1))
    )
    return layers.convolution(call.source, weight, call.get(2, None), window, groups=groups, origin=call.origin)


def _linear(call: _Call) -> Layer:
    return layers.dense(call.source, call.arguments[1], call.get(2, None), origin=call.origin)


def _batch_norm(call: _Call) -> Layer | None:
    if call.arguments[5]:
        return None  # normalises with the statistics of the batch
    return layers.batch_norm(call.source, call.arguments[1:5], epsilon=call.arguments[7], origin=call.origin)


def _elementwise(call: _Call) -> Layer | None:
    """Arithmetic with one constant per channel, and the sum of two layers."""
    first, second = call.arguments[:2]
    if call.get(2, 1) != 1:
        return None  # the second operand has a factor, or the quotient is rounded
    if isinstance(first, Layer) and isinstance(second, Layer):
        if call.name != "add":
            return None
        return Layer("sum", (first, second), first.shape, call.origin)
    if not isinstance(first, Layer):
        return None
    value = second if isinstance(second, Constant) else constant(second)
    return layers.arithmetic(first, call.name, value, origin=call.origin)


def _activation(low: float, high: float) -> Callable[[_Call], Layer]:
    return lambda call: layers.activation(call.source, low, high, origin=call.origin)


def _clamp(call: _Call) -> Layer:
    default = (-1.0, 1.0) if call.name == "hardtanh" else (-math.inf, math.inf)
    low, high = call.get(1, default[0]), call.get(2, default[1])
    return layers.activation(call.source, float(low), float(high), origin=call.origin)


def _max_pool(call: _Call) -> Layer:
    kernel = _pair(call.arguments[1])
    pads = _pair(call.get(3, 0))
    window = Window(
        kernel, _pair(call.get(2, kernel)), (pads[0], pads[1], pads[0], pads[1]), _pair(call.get(4, 1)), call.get(5, False)
    )
    return layers.max_pool(call.source, window, origin=call.origin)


def _adaptive_pool(call: _Call) -> Layer:
    result = _pair(call.arguments[1])
    if not all(1 <= side <= _LARGEST_POOL for side in result):  # a damaged number would take hours
        raise ValueError(f"sides from 1 to {_LARGEST_POOL} are possible")
    return layers.pool(call.source, layers.adaptive(call.source.shape[1:], result), result, origin=call.origin)


def _flatten(call: _Call) -> Layer | None:
    if call.get(1, 0) != 1 or call.get(2, -1) != -1:
        return None
    return layers.flatten(call.source, origin=call.origin)


def _unchanged(call: _Call) -> Layer:
    return call.source


def _dropout(call: _Call) -> Layer | None:
    return None if call.get(2, True) else call.source


def _pair(value: Any) -> tuple[int, int]:
    values = value if isinstance(value, list) else [value]
    return (int(values[0]), int(values[-1]))


_OPERATORS: Mapping[str, Callable[[_Call], Layer | None]] = {
    "conv2d": _convolution, "convolution": _convolution, "linear": _linear, "batch_norm": _batch_norm,
    "add": _elementwise, "sub": _elementwise, "mul": _elementwise, "div": _elementwise,
    "relu": _activation(0.0, math.inf), "relu6": _activation(0.0, 6.0), "hardtanh": _clamp, "clamp": _clamp,
    "max_pool2d": _max_pool, "adaptive_avg_pool2d": _adaptive_pool, "flatten": _flatten,
    "dropout": _dropout, "contiguous": _unchanged, "alias": _unchanged, "detach": _unchanged,
}  # fmt: skip
"""Operators of torch that have a layer here. None means that this call is not of the layer's kind."""
