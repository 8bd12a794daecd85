"""Constants of an ONNX graph: stored ones, those computed from them, and how far rounding may have moved each number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.reference import ReferenceEvaluator

from skinaudit.engines.networks.layers import FLOAT_STEP, Constant

_DIGITS: Mapping[int, tuple[int, float]] = {
    TensorProto.FLOAT16: (11, 2.0**-25),
    TensorProto.BFLOAT16: (8, 0.0),
    TensorProto.FLOAT8E4M3FN: (4, 2.0**-10),
    TensorProto.FLOAT8E5M2: (3, 2.0**-17),
}
"""For each type: binary digits of a number, and half of the smallest step."""
_HALF_STEP = 0.505
"""Rounding error in steps, for an integer code or a last digit; a little more than half because of float32 arithmetic."""
_LEVELS = 60
"""Smallest number of steps in the largest weight of a tensor.

127 if each channel has its own step; 63 if weights have one bit less, so that 16-bit sums do not overflow (NNCF's first
layer, reduce_range of ONNX Runtime).
"""
_TINY_BIAS = 1e-3
_FOLDED = frozenset(
    {
        "Add", "Sub", "Mul", "Div", "Neg", "Reciprocal", "Sqrt", "Pow", "Concat", "Gather", "Slice", "Shape", "Expand",
        "ReduceProd", "ReduceMean", "ReduceSum", "Range", "ConstantOfShape", "Max", "Min",
    }
)  # fmt: skip
"""Operators without random numbers or state: with constant inputs, their result is a constant."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A constant in the type of its file, and the slack of each number."""

    raw: NDArray[Any]
    slack: NDArray[np.float64]

    @property
    def constant(self) -> Constant:
        """The numbers as a layer's Constant."""
        return Constant(np.asarray(self.raw, np.float64), self.slack)

    def integers(self) -> tuple[int, ...]:
        """The numbers as integers, such as axes."""
        return tuple(int(value) for value in np.asarray(self.raw, np.float64).reshape(-1))

    def number(self) -> float:
        """The only number; raises ValueError if there are several."""
        return float(np.asarray(self.raw, np.float64).item())


def stored(tensor: TensorProto) -> Stored:
    """A tensor of a file, with its external data loaded."""
    return typed(numpy_helper.to_array(tensor), tensor.data_type)


def typed(raw: NDArray[Any], kind: int) -> Stored:
    """Numbers of a file. kind: ONNX's number of their type."""
    return Stored(raw, _rounding(raw, kind))


def _rounding(raw: NDArray[Any], kind: int) -> NDArray[np.float64]:
    """How far rounding to this type may have moved each number."""
    if kind in (TensorProto.FLOAT, TensorProto.DOUBLE):
        return np.asarray(np.abs(np.asarray(raw, np.float64)) * FLOAT_STEP)
    if kind not in _DIGITS:
        return np.zeros(raw.shape)
    digits, least = _DIGITS[kind]
    return half_units(np.asarray(raw, np.float64), digits, least=least)


def half_units(value: NDArray[np.float64], digits: int, *, least: float) -> NDArray[np.float64]:
    """Half a unit in the last of `digits` binary digits of each number: the largest error of correct rounding."""
    units = np.ldexp(2 * _HALF_STEP, np.frexp(value)[1] - digits - 1)
    return np.asarray(np.maximum(np.where(value == 0, 0.0, units), 2 * _HALF_STEP * least))


def halves_of_bf16(raw: NDArray[np.uint16]) -> NDArray[np.float32]:
    """bfloat16 bits from a file, as float32."""
    return (raw.astype(np.uint32) << 16).view(np.float32)


def plain(raw: NDArray[Any]) -> Stored:
    """A constant that was computed in float32."""
    return Stored(raw, np.abs(np.asarray(raw, np.float64)) * FLOAT_STEP)


def folded(node: NodeProto, inputs: list[Stored | None], attributes: Mapping[str, Any]) -> Stored | None:
    """Result of a node whose inputs are all constants; None for an operator that is not computed here."""
    first = inputs[0]
    if first is None:
        return None
    if node.op_type == "DequantizeLinear":
        return dequantised(inputs, attributes)
    move = _moved(node, inputs, attributes)
    if move is not None:
        return Stored(move(first.raw), move(first.slack))
    if node.op_type == "Cast":
        if attributes["to"] in (TensorProto.FLOAT, TensorProto.DOUBLE):
            return Stored(np.asarray(first.raw, np.float64), first.slack)
        return _cast(first, attributes["to"])
    if node.op_type not in _FOLDED or node.domain not in ("", "ai.onnx"):
        return None
    feeds = {name: value.raw for name, value in zip(node.input, inputs, strict=True) if value is not None}
    results: Any = ReferenceEvaluator(node).run(None, {name: _computable(raw) for name, raw in feeds.items()})
    return plain(np.asarray(results[0]))


def _computable(raw: NDArray[Any]) -> NDArray[Any]:
    """A constant in the type that a runtime computes with: half precision stays, other floats become float32."""
    return np.asarray(raw, np.float32) if raw.dtype.kind == "f" and raw.dtype != np.float16 else raw


def _moved(
    node: NodeProto, inputs: list[Stored | None], attributes: Mapping[str, Any]
) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    """The function of a node that moves numbers without changing them; None for other nodes."""
    second = inputs[1] if len(inputs) > 1 else None
    axes: tuple[int, ...] = tuple(attributes.get("axes", ())) if second is None else second.integers()
    if node.op_type == "Identity":
        return lambda value: value
    if node.op_type == "Transpose":
        return lambda value: np.transpose(value, attributes.get("perm"))
    if node.op_type == "Reshape":
        return lambda value: value.reshape([value.shape[at] if side == 0 else side for at, side in enumerate(axes)])
    if node.op_type == "Unsqueeze":
        return lambda value: np.expand_dims(value, axes)
    if node.op_type == "Squeeze":
        return lambda value: np.squeeze(value, axes or None)
    return None


def _cast(first: Stored, to: int) -> Stored:
    """A constant cast to another type, rounded as that type requires."""
    raw = first.raw.astype(tensor_dtype_to_np_dtype(to))
    return Stored(raw, first.slack + _rounding(raw, to))


def dequantised(inputs: list[Stored | None], attributes: Mapping[str, Any]) -> Stored:
    """Codes of a file as the numbers that they stand for."""
    if in_blocks(attributes):
        raise ValueError("codes with a step for each block")
    codes, scale, *zeros = inputs
    assert codes is not None
    assert scale is not None
    zero = zeros[0] if zeros else None
    sides = codes.raw.ndim
    axis = attributes.get("axis", 1) % max(sides, 1)

    def by_channel(part: Stored) -> NDArray[np.float64]:
        shape = [-1 if at == axis else 1 for at in range(sides)] if part.raw.size > 1 else [1] * sides
        return np.asarray(part.raw, np.float64).reshape(shape)

    if codes.raw.dtype.kind not in "iu":
        steps = np.abs(by_channel(scale))
        return Stored(codes.constant.value * by_channel(scale), np.asarray(codes.slack * steps))
    shifted = np.asarray(codes.raw, np.float64) - (0 if zero is None else by_channel(zero))
    return of_codes(shifted, by_channel(scale), bits=8 * codes.raw.dtype.itemsize)


def in_blocks(attributes: Mapping[str, Any]) -> bool:
    """Whether codes have one scale per block of numbers, which is not supported here."""
    return bool(attributes.get("block_size", 0))


def of_codes(codes: NDArray[np.float64], steps: NDArray[np.float64], *, bits: int) -> Stored:
    """Integer codes as the numbers that they stand for, codes * steps, with a slack of at most half a step.

    8-bit weights get this slack only if the largest weight has at least _LEVELS steps. With coarser steps almost any weights
    would agree, so their slack is 0. Codes of 32 bits are biases.
    """
    value = codes * steps
    widths = np.abs(steps)
    largest = np.abs(value).max(initial=0)
    if bits == 8:
        slack = np.where(widths <= largest / _LEVELS, _HALF_STEP * widths, 0)
    else:
        slack = np.minimum(_HALF_STEP * widths, max(largest / 16, _TINY_BIAS))
    return Stored(value, np.array(np.broadcast_to(slack, value.shape)))
