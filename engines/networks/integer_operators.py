"""ONNX operators that compute in integers: QLinearConv and similar ones, and dynamic quantisation.

The inputs and results of such a layer are codes: each stands for (code - zero) * scale. Reading codes with the scale and
zero with which they were written is a rounding of the original numbers, in whatever order the file does it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from skinaudit.engines.networks import layers
from skinaudit.engines.networks.layers import Array, Constant, Layer
from skinaudit.engines.networks.onnx_operators import CODES, OPERATORS, Call, has_plain_pads, window_of
from skinaudit.engines.networks.stored import Stored, dequantised, in_blocks, of_codes

_TYPES_OF_CODES: Mapping[int, str] = {
    TensorProto.UNDEFINED: "uint8", TensorProto.UINT8: "uint8", TensorProto.INT8: "int8",
}  # fmt: skip
"""Type that a QuantizeLinear without a zero writes, by its output_dtype."""
_LAST, _SECOND = (0, 2, 3, 1), (0, 3, 1, 2)
"""Axis orders that move the channels to the last place, and back."""
Result = Layer | Sequence[Layer] | None


def _codes(layer: Layer, scale: Stored, zero: Stored | None, *, origin: str, kind: str = "uint8") -> Layer:
    """Numbers written as codes. kind: type of the codes if there is no zero, whose type would tell."""
    kind = kind if zero is None else str(zero.raw.dtype)
    shift = 0.0 if zero is None else zero.number()
    if kind not in CODES:
        raise TypeError(origin)
    return Layer("other", (layer,), layer.shape, origin, ("codes", scale.number(), shift, kind))


def read_codes(codes: Layer, scale: Stored, zero: Stored | None) -> Layer | None:
    """Activation codes as numbers; None if they were written with another scale or zero."""
    shift = 0.0 if zero is None else zero.number()
    if codes.settings[:3] != ("codes", scale.number(), shift):
        return None
    low, high = CODES[codes.settings[3]]
    step = scale.number()
    settings = ((low - shift) * step, (high - shift) * step, step)
    return Layer("rounding", codes.inputs, codes.shape, codes.origin, settings)


def _operand(call: Call, place: int) -> Layer | Stored | None:
    """An input that is followed by its scale and zero; channels are moved to the second place if the file has them last."""
    value, scale, zero = call.inputs[place], call.stored(place + 1), call.stored(place + 2)
    if scale is None or value is None:
        return None
    if isinstance(value, Stored):
        return dequantised([value, scale, zero], {})
    if call.attributes.get("channels_last", 0):
        if value.settings != ("moved", _LAST):
            return None
        (value,) = value.inputs
    return read_codes(value, scale, zero)


def _source(call: Call, place: int = 0) -> Layer:
    value = _operand(call, place)
    if not isinstance(value, Layer):
        raise TypeError(call.origin)
    return value


def _written(layer: Layer | None, call: Call, place: int) -> Layer | None:
    """A result as codes, with the scale and zero at `place`; without a scale it stays in float."""
    scale, zero = call.stored(place), call.stored(place + 1)
    if layer is None or scale is None:
        return layer
    codes = _codes(layer, scale, zero, origin=call.origin)
    if call.attributes.get("channels_last", 0):
        return Layer("other", (codes,), (), call.origin, ("moved", _LAST))
    return codes


def _weights(call: Call, place: int, *, axis: int) -> Stored:
    value, scale, zero = (call.stored(at) for at in range(place, place + 3))
    if value is None or scale is None:
        raise TypeError(call.origin)
    return dequantised([value, scale, zero], {"axis": axis})


def _bias(codes: Stored | None, input_scale: Stored | None, weight_scale: Stored | None) -> Constant | None:
    """A bias in 32-bit integers, whose step is the product of the input's and the weight's steps."""
    if codes is None or input_scale is None or weight_scale is None:
        return None
    steps = input_scale.number() * weight_scale.constant.value.reshape(-1)
    return of_codes(codes.constant.value.reshape(-1), steps, bits=32).constant


def _convolution(call: Call) -> Layer | None:
    weight = _weights(call, 3, axis=0).constant
    if not has_plain_pads(call):
        return None
    bias = _bias(call.stored(8), call.stored(1), call.stored(4))
    layer = layers.convolution(
        _source(call), weight, bias, window_of(call, weight.value.shape[2:]),
        groups=call.attributes.get("group", 1), origin=call.origin,
    )  # fmt: skip
    return _written(layer, call, 6)


def _product(call: Call) -> Layer | None:
    """QLinearMatMul and ONNX Runtime's QGemm."""
    gemm = call.operator == "QGemm"
    turned = bool(call.attributes.get("transB", 0))
    if call.attributes.get("transA", 0) or call.attributes.get("alpha", 1.0) != 1.0:
        return None
    weight = _weights(call, 3, axis=0 if turned else 1).constant
    if not turned:
        weight = Constant(weight.value.T, weight.slack.T)
    bias = _bias(call.stored(6), call.stored(1), call.stored(4)) if gemm else None
    return _written(layers.dense(_source(call), weight, bias, origin=call.origin), call, 7 if gemm else 6)


def _sum(call: Call) -> Layer | None:
    first, second = _operand(call, 0), _operand(call, 3)
    plain = OPERATORS["Add"](Call("Add", "", [first, second], {}, call.origin))
    return _written(plain, call, 6)


def _pool(call: Call) -> Layer | None:
    name = call.operator.removeprefix("QLinear")
    return _written(OPERATORS[name](Call(name, "", [_source(call)], call.attributes, call.origin)), call, 3)


def _of_codes(call: Call) -> Layer | None:
    """Operators that move numbers or take a maximum do the same to codes. Channels that were moved last are moved back."""
    codes = call.source
    if call.operator == "Transpose" and tuple(call.attributes.get("perm", ())) == _SECOND:
        return codes.inputs[0] if codes.settings == ("moved", _LAST) else None
    last = call.operator == "NhwcMaxPool"
    if last:
        if codes.settings != ("moved", _LAST):
            return None
        (codes,) = codes.inputs
    if codes.settings[:1] != ("codes",) or call.operator == "Transpose":
        return None
    name = "MaxPool" if last else call.operator
    moved = OPERATORS[name](Call(name, "", [codes.inputs[0], *call.inputs[1:]], call.attributes, call.origin))
    if moved is None:
        return None
    result = Layer("other", (moved,), moved.shape, call.origin, codes.settings)
    return Layer("other", (result,), (), call.origin, ("moved", _LAST)) if last else result


def _dequantise(call: Call) -> Layer | None:
    scale = call.stored(1)
    return None if scale is None or in_blocks(call.attributes) else read_codes(call.source, scale, call.stored(2))


def _quantise(call: Call) -> Layer | None:
    scale, written = call.stored(1), call.attributes.get("output_dtype", 0)
    if scale is None or in_blocks(call.attributes):
        return None
    kind = _TYPES_OF_CODES.get(written, "")
    return _codes(call.source, scale, call.stored(2), origin=call.origin, kind=kind)


# Dynamic quantisation: the scale of the input is computed from the batch.


def _dynamic_codes(call: Call) -> Sequence[Layer]:
    source = call.source
    parts = ((source.shape, "dynamic codes"), ((), "dynamic scale"), ((), "dynamic zero"))
    return [Layer("other", (source,), shape, call.origin, (name,)) for shape, name in parts]


def _rounded(source: Layer, *, origin: str) -> Layer:
    """A rounding whose range is not known in advance."""
    return Layer("rounding", (source,), source.shape, origin, (math.nan, math.nan, math.nan))


def _sums(call: Call) -> Layer | None:
    """ConvInteger and MatMulInteger: a layer whose weights are still codes."""
    codes, weight, zero, weight_zero = (*call.inputs, None, None)[:4]
    if not isinstance(codes, Layer) or not isinstance(zero, Layer) or not isinstance(weight, Stored):
        return None
    if codes.settings != ("dynamic codes",) or zero.settings != ("dynamic zero",) or codes.inputs != zero.inputs:
        return None
    shift = weight_zero.constant.value if isinstance(weight_zero, Stored) else np.zeros(())
    source, shape = _rounded(codes.inputs[0], origin=call.origin), codes.shape
    if call.operator == "ConvInteger":
        numbers = weight.constant.value - shift.reshape((-1,) + (1,) * 3 if shift.size > 1 else ())
        layer = layers.convolution(
            source, _exact(numbers), None, window_of(call, numbers.shape[2:]),
            groups=call.attributes.get("group", 1), origin=call.origin,
        )  # fmt: skip
        shape = layer.shape
    else:
        numbers = (weight.constant.value - shift).T
        layer = layers.dense(source, _exact(numbers), None, origin=call.origin)
        shape = layer.shape
    return Layer("other", (layer,), shape, call.origin, ("sums",))


def _exact(value: Array) -> Constant:
    return Constant(value, np.zeros_like(value))


def _scaled(call: Call) -> Layer | None:
    """The product of the two scales, and the product of the integer sums with it."""
    first, second = call.inputs
    for scale, factor in ((first, second), (second, first)):
        if not isinstance(scale, Layer) or scale.settings != ("dynamic scale",):
            continue
        if scale.weight is None and isinstance(factor, Stored):
            return replace(scale, weight=factor.constant, origin=call.origin)
        if scale.weight is not None and isinstance(factor, Layer):
            return _of_sums(factor, scale, scale.weight)
    return None


def _of_sums(sums: Layer, scale: Layer, steps: Constant) -> Layer | None:
    while sums.kind == "cast":
        (sums,) = sums.inputs
    if sums.settings != ("sums",) or sums.inputs[0].inputs[0].inputs != scale.inputs:
        return None
    (layer,) = sums.inputs
    assert layer.weight is not None
    by = steps.value.reshape(-1)
    by = (
        by.reshape((-1,) + (1,) * (layer.weight.value.ndim - 1))
        if by.size > 1
        else by.reshape((1,) * layer.weight.value.ndim)
    )
    return replace(layer, weight=of_codes(layer.weight.value, by, bits=8).constant)


def _fused(call: Call) -> Layer | None:
    """ONNX Runtime's product that quantises its input itself. Arguments: input, weight, scale, zero, bias."""
    weight, scale, zero, bias = (call.stored(place) for place in range(1, 5))
    if weight is None or scale is None:
        return None
    numbers = dequantised([weight, scale, zero], {"axis": 1}).constant
    shift = None if bias is None else Constant(bias.constant.value.reshape(-1), bias.slack.reshape(-1))
    turned = Constant(numbers.value.T, numbers.slack.T)
    return layers.dense(_rounded(call.source, origin=call.origin), turned, shift, origin=call.origin)


def _cast_of_sums(call: Call) -> Layer | None:
    return call.source if call.source.settings == ("sums",) else None


INTEGER: Mapping[str, Callable[[Call], Any]] = {
    "QLinearConv": _convolution, "QLinearMatMul": _product, "QGemm": _product, "QLinearAdd": _sum,
    "QLinearGlobalAveragePool": _pool, "QLinearAveragePool": _pool,
    "MaxPool": _of_codes, "NhwcMaxPool": _of_codes, "Reshape": _of_codes, "Flatten": _of_codes, "Squeeze": _of_codes,
    "Transpose": _of_codes, "Identity": _of_codes,
    "QuantizeLinear": _quantise, "DequantizeLinear": _dequantise,
    "DynamicQuantizeLinear": _dynamic_codes, "ConvInteger": _sums, "MatMulInteger": _sums, "Cast": _cast_of_sums,
    "Mul": _scaled, "DynamicQuantizeMatMul": _fused,
}  # fmt: skip
"""Operators on integers, and what other operators do to codes. None means that the operator has another meaning there."""
