"""ONNX operators as layers. A function returns None if the node is not a layer of its kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from skinaudit.engines.networks import layers
from skinaudit.engines.networks.layers import Array, Constant, Layer, Window
from skinaudit.engines.networks.nchwc import in_plain_order
from skinaudit.engines.networks.stored import Stored

_FLOATS: Mapping[int, str] = {
    TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16", TensorProto.DOUBLE: "fp64",
}  # fmt: skip
_LARGEST_FACTOR = 256
"""Factors of a whole product. The unscaled sum is computed first and could overflow its type."""
CODES: Mapping[str, tuple[float, float]] = {
    "uint8": (0, 255), "int8": (-128, 127), "float8_e4m3fn": (-448, 448), "float8_e5m2": (-57344, 57344),
}  # fmt: skip
"""Smallest and largest code of each type that activations are rounded to."""
DOMAINS = frozenset({"", "ai.onnx", "com.microsoft", "com.microsoft.nchwc"})
"""Domains whose operator names have the usual meaning here."""


@dataclass(frozen=True, eq=False)
class Call:
    """A node of the graph. inputs: None for an input that is left out."""

    operator: str
    domain: str
    inputs: list[Layer | Stored | None]
    attributes: Mapping[str, Any]
    origin: str

    @property
    def source(self) -> Layer:
        """The first input, which must be computed, not constant."""
        first = self.inputs[0]
        if not isinstance(first, Layer):
            raise TypeError(self.origin)
        return first

    def stored(self, place: int) -> Stored | None:
        """A constant input; None if it is left out. Raises TypeError if it is computed."""
        value = self.inputs[place] if place < len(self.inputs) else None
        if isinstance(value, Layer):
            raise TypeError(self.origin)
        return value

    def constant(self, place: int) -> Constant | None:
        """The same as a Constant."""
        value = self.stored(place)
        return None if value is None else value.constant

    def number(self, place: int, default: float) -> float:
        """The same as a single number."""
        value = self.stored(place)
        return default if value is None else value.number()


def _convolution(call: Call) -> Layer | None:
    weight, bias, source = call.constant(1), call.constant(2), call.source
    if weight is None or not has_plain_pads(call):
        return None
    groups = call.attributes.get("group", 1)
    if call.domain == "com.microsoft.nchwc":
        weight, bias, groups = in_plain_order(weight, bias, channels=source.shape[0], groups=groups)
    layer = layers.convolution(
        source, weight, bias, window_of(call, weight.value.shape[2:]), groups=groups, origin=call.origin
    )
    added = call.inputs[3] if len(call.inputs) > 3 else None
    if isinstance(added, Layer):
        layer = Layer("sum", (layer, added), layer.shape, call.origin)
    elif added is not None:
        return None
    return _activated(layer, call)


def has_plain_pads(call: Call) -> bool:
    """Whether the padding is the one in `pads`. With VALID, some runtimes ignore `pads` and others refuse them."""
    kind = call.attributes.get("auto_pad", b"NOTSET")
    return kind == b"NOTSET" or (kind == b"VALID" and not any(call.attributes.get("pads", ())))


def window_of(call: Call, kernel: Any) -> Window:
    """How the window of a convolution or pool with this kernel size moves."""
    attributes = call.attributes
    return Window(
        tuple(map(int, kernel)),  # type: ignore[arg-type]
        tuple(attributes.get("strides", (1, 1))),
        tuple(attributes.get("pads", (0, 0, 0, 0))),
        tuple(attributes.get("dilations", (1, 1))),
        bool(attributes.get("ceil_mode", 0)),
    )


def _activated(layer: Layer, call: Call) -> Layer | None:
    """A layer followed by the activation that ONNX Runtime's optimiser fused into it."""
    name, bounds = call.attributes.get("activation", b""), call.attributes.get("activation_params", ())
    if name == b"Relu":
        return layers.activation(layer, 0.0, math.inf, origin=call.origin)
    if name == b"Clip":
        return layers.activation(layer, float(bounds[0]), float(bounds[1]), origin=call.origin)
    return layer if not name else None


def _product(call: Call) -> Layer | None:
    """A fully connected layer: Gemm and MatMul with constant weights, and ONNX Runtime's fused forms of them."""
    weight, bias, attributes = call.constant(1), call.constant(2), call.attributes
    if weight is None or weight.value.ndim != 2 or attributes.get("transA", 0) or len(call.source.shape) != 1:
        return None
    if not attributes.get("transB", 0):
        weight = Constant(weight.value.T, weight.slack.T)
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if not all(1 / _LARGEST_FACTOR <= abs(factor) <= _LARGEST_FACTOR for factor in (alpha, beta)):
        return None
    weight = Constant(weight.value * alpha, weight.slack * abs(alpha))
    if bias is not None:
        bias = bias_of_classes(bias, len(weight.value))
        bias = Constant(bias.value * beta, bias.slack * abs(beta))
    return _activated(layers.dense(call.source, weight, bias, origin=call.origin), call)


def bias_of_classes(bias: Constant, classes: int) -> Constant:
    """A bias as one number per class, (classes,). Raises ValueError if it differs between rows of the batch."""
    if bias.value.size != 1 and bias.value.shape not in ((classes,), (1, classes)):
        raise ValueError(f"a bias of shape {bias.value.shape}")
    value, slack = (np.broadcast_to(part.reshape(-1), classes) for part in (bias.value, bias.slack))
    return Constant(value, slack)


def _elementwise(call: Call) -> Layer | None:
    first, second = call.inputs
    operation = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}[call.operator]
    if isinstance(first, Layer) and isinstance(second, Layer):
        alike = operation == "add" and first.shape == second.shape != ()
        return Layer("sum", (first, second), first.shape, call.origin) if alike else None
    if isinstance(first, Layer) and isinstance(second, Stored):
        return layers.arithmetic(first, operation, second.constant, origin=call.origin)
    if isinstance(second, Layer) and isinstance(first, Stored) and operation in ("add", "mul"):
        return layers.arithmetic(second, operation, first.constant, origin=call.origin)
    return None


def _batch_norm(call: Call) -> Layer | None:
    if call.attributes.get("training_mode", 0):
        return None
    parts = [part for place in range(1, 5) if (part := call.constant(place)) is not None]
    return layers.batch_norm(call.source, parts, epsilon=call.attributes.get("epsilon", 1e-5), origin=call.origin)


def _clip(call: Call) -> Layer:
    low = call.attributes.get("min", call.number(1, -math.inf))
    high = call.attributes.get("max", call.number(2, math.inf))
    return layers.activation(call.source, low, high, origin=call.origin)


def _bound(call: Call) -> Layer | None:
    """Max and Min of a layer and one number."""
    sources = [value for value in call.inputs if isinstance(value, Layer)]
    bounds = [value.number() for value in call.inputs if isinstance(value, Stored)]
    if len(sources) != 1 or len(bounds) != 1:
        return None
    low, high = (bounds[0], math.inf) if call.operator == "Max" else (-math.inf, bounds[0])
    return layers.activation(sources[0], low, high, origin=call.origin)


def _unchanged(call: Call) -> Layer | None:
    if call.attributes.get("channels_last", 0):
        return None
    return call.source if len(call.inputs) == 1 or call.operator == "ReorderOutput" else None


def _dropout(call: Call) -> Layer | None:
    return None if call.number(2, 0.0) else call.source


def _relu(call: Call) -> Layer:
    return layers.activation(call.source, 0.0, math.inf, origin=call.origin)


def _max_pool(call: Call) -> Layer | None:
    if not has_plain_pads(call):
        return None
    return layers.max_pool(call.source, window_of(call, call.attributes["kernel_shape"]), origin=call.origin)


def _average_pool(call: Call) -> Layer | None:
    sides = call.source.shape[1:]
    window = Window(sides) if call.operator == "GlobalAveragePool" else window_of(call, call.attributes["kernel_shape"])  # type: ignore[arg-type]
    plain = not window.ceil and window.dilations == (1, 1) and has_plain_pads(call)
    matrix = layers.averages(sides, window) if plain else None
    return None if matrix is None else layers.pool(call.source, matrix, window.result(sides), origin=call.origin)


def _mean(call: Call) -> Layer | None:
    """Mean of each map, or of the pixels picked by a GatherND (torch's adaptive pool if sides do not divide evenly)."""
    axes = call.stored(1)
    chosen = tuple(call.attributes.get("axes", ())) if axes is None else axes.integers()
    keep = bool(call.attributes.get("keepdims", 1))
    source = call.source
    picked = source.weight if source.settings[:1] == ("picked",) else None
    if picked is not None and sorted(axis % 6 for axis in chosen) == [3, 5] and not keep:
        below = source.inputs[0]
        matrix, sides = _picked_means(picked.value, below.shape[1:])
        return layers.pool(below, matrix, sides, origin=call.origin)
    if len(source.shape) != 3 or sorted(axis % 4 for axis in chosen) != [2, 3]:
        return None
    pooled = layers.pool(
        source, np.full((1, math.prod(source.shape[1:])), 1 / math.prod(source.shape[1:])), (1, 1), origin=call.origin
    )
    return pooled if keep else layers.flatten(pooled, origin=call.origin)


def _picked_means(places: Array, sides: tuple[int, ...]) -> tuple[Array, tuple[int, int]]:
    """places: (H', k, W', k, 2): coordinates of the pixels that each pixel of the result averages."""
    height, _, width, _, _ = places.shape
    matrix = np.zeros((height * width, math.prod(sides)))
    for row in range(height):
        for column in range(width):
            area = places[row, :, column].reshape(-1, 2).astype(int)
            for top, left in area:
                matrix[row * width + column, top * sides[1] + left] += 1 / len(area)
    return matrix, (height, width)


def _gather(call: Call) -> Layer | None:
    """Pick pixels of a map whose batch and channel axes are last."""
    places, source = call.constant(1), call.source
    if (
        places is None
        or (places.value < 0).any()
        or source.settings != ("moved", (2, 3, 0, 1))
        or call.attributes.get("batch_dims", 0)
    ):
        return None
    value = places.value.reshape(places.value.shape[-5:]) if places.value.ndim >= 5 else places.value
    return Layer("other", source.inputs, (), call.origin, ("gathered",), Constant(value, np.zeros_like(value)))


def _transpose(call: Call) -> Layer | None:
    source, order = call.source, tuple(call.attributes.get("perm", ()))
    if source.settings == ("gathered",) and order == (4, 5, 0, 1, 2, 3):
        return Layer("other", source.inputs, (), call.origin, ("picked",), source.weight)
    return Layer("other", (source,), (), call.origin, ("moved", order))


def _flatten(call: Call) -> Layer | None:
    source = call.source
    features = math.prod(source.shape) if source.shape else 0
    if call.operator == "Flatten":
        return layers.flatten(source, origin=call.origin) if call.attributes.get("axis", 1) == 1 else None
    if call.operator == "Squeeze":
        return layers.flatten(source, origin=call.origin) if len(source.shape) == 3 and features == source.shape[0] else None
    shape = call.stored(1)
    sides = None if shape is None else shape.integers()
    if sides is None or len(sides) != 2 or sides not in ((-1, features), (0, features), (0, -1)):
        return None
    return layers.flatten(source, origin=call.origin)


def _cast(call: Call) -> Layer | None:
    if call.attributes["to"] not in _FLOATS:
        return None
    return Layer("cast", (call.source,), call.source.shape, call.origin, (_FLOATS[call.attributes["to"]],))


OPERATORS: Mapping[str, Callable[[Call], Layer | None]] = {
    "Conv": _convolution, "FusedConv": _convolution, "Gemm": _product, "MatMul": _product, "FusedGemm": _product,
    "Add": _elementwise, "Sub": _elementwise, "Mul": _elementwise, "Div": _elementwise,
    "BatchNormalization": _batch_norm, "Relu": _relu, "Clip": _clip, "Max": _bound, "Min": _bound,
    "Identity": _unchanged, "ReorderOutput": _unchanged, "ReorderInput": _unchanged, "Dropout": _dropout,
    "MaxPool": _max_pool, "AveragePool": _average_pool, "GlobalAveragePool": _average_pool, "ReduceMean": _mean,
    "GatherND": _gather, "Transpose": _transpose, "Flatten": _flatten, "Reshape": _flatten, "Squeeze": _flatten,
    "Cast": _cast,
}  # fmt: skip
"""Operators that may be layers; every other operator becomes kind `other`."""
