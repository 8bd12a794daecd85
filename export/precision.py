"""The precisions to which an fp32 graph can be converted.

A new one is a function, a row in `PRECISIONS` and a row in `skinaudit.artifacts.precisions.KINDS`, which the audit also
reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import onnx.shape_inference
from onnx import ModelProto, TensorProto

from skinaudit.engines.half import BF16_OPSET, FP16_LARGEST, to_half
from skinaudit.engines.onnx_graph import found_precisions
from skinaudit.errors import InvalidInputError
from skinaudit.export.calibration import Calibration, largest_activation
from skinaudit.export.fp8 import to_e4m3
from skinaudit.export.int8 import quantise


@dataclass(frozen=True, eq=False)
class Converted:
    """A converted graph, and the settings and counts that its manifest records."""

    model: ModelProto
    settings: Mapping[str, Any] = field(default_factory=dict)


class Convert(Protocol):
    """Converts an fp32 graph to a precision without changing the input graph. calibration: None if not needed."""

    def __call__(self, model: ModelProto, calibration: Calibration | None, *, where: str) -> Converted:
        """Convert the graph; errors name `where`."""


@dataclass(frozen=True)
class Precision:
    """How to convert an fp32 graph, and the parity with the source model that the file must reach.

    name: the precision in which its layers must be found. tolerance: largest allowed absolute logit difference, relative to
    the largest source logit; None if it is only recorded. agreement: smallest allowed share of images with the same
    prediction; near-ties within the tolerance do not count as differences. formats: those that start from this graph when
    this precision is requested.
    """

    name: str
    convert: Convert
    needs_calibration: bool
    tolerance: float | None
    agreement: float
    formats: tuple[str, ...]


def unchanged(model: ModelProto, calibration: Calibration | None, *, where: str) -> Converted:
    """fp32: the graph as it was exported."""
    return Converted(model)


def to_fp16(model: ModelProto, calibration: Calibration | None, *, where: str) -> Converted:
    """Weights and arithmetic in fp16 from the first weighted layer on; `image`, normalisation and `logits` stay float32.

    Normalisation in fp32 costs elementwise work on three channels. If pixels were rounded to fp16 before the mean is
    subtracted, their error could be 1/16 of an 8-bit step even where the difference is near zero. Raises InvalidInputError
    if a weight, or an activation on the calibration images, exceeds fp16's largest number, 65504. A CPU computes the file in
    fp32 and would not show this.
    """
    assert calibration is not None
    model = onnx.shape_inference.infer_shapes(model)
    peak = largest_activation(model, calibration)
    if peak > FP16_LARGEST:
        raise InvalidInputError(
            f"{where}: activations reach {peak:.3g}, but the largest fp16 value is 65504; export as fp32 or int8"
        )
    converted, underflowed = to_half(model, TensorProto.FLOAT16, where=where)
    settings = {"normalisation": "fp32", "weights_rounded_to_zero": underflowed, "largest_activation": peak}
    return Converted(converted, settings)


def to_bf16(model: ModelProto, calibration: Calibration | None, *, where: str) -> Converted:
    """Like to_fp16, in bfloat16: the range of fp32 with 8 bits of mantissa, so nothing overflows. Needs opset 22."""
    converted, underflowed = to_half(model, TensorProto.BFLOAT16, where=where)
    return Converted(converted, {"normalisation": "fp32", "weights_rounded_to_zero": underflowed, "opset": BF16_OPSET})


def to_int8(model: ModelProto, calibration: Calibration | None, *, where: str) -> Converted:
    """Static Q/DQ for CPUs: asymmetric u8 activations per tensor, symmetric s8 weights per channel, s32 biases.

    Normalisation and logits stay float: logits in 8 bit would tie, and could not exceed the range of the calibration images.
    CPUs without VNNI add pairs of products in 16 bits and may saturate, so an audit holds only for the kind of CPU on which
    it ran. Raises MissingDependencyError without onnxruntime.
    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    assert calibration is not None
    return Converted(*quantise(model, calibration, symmetric=False, where=where))


def to_int8_symmetric(model: ModelProto, calibration: Calibration | None, *, where: str) -> Converted:
    """Static Q/DQ for TensorRT: symmetric s8 activations per tensor, symmetric s8 weights per channel, float biases.

    TensorRT accepts only zero points of 0 and refuses s32 biases. Otherwise like to_int8; on a CPU with VNNI it is slower.
    """
    assert calibration is not None
    return Converted(*quantise(model, calibration, symmetric=True, where=where))


def to_fp8(model: ModelProto, calibration: Calibration | None, *, where: str) -> Converted:
    """Static Q/DQ for TensorRT: E4M3 activations per tensor, E4M3 weights per channel, float biases.

    ONNX Runtime can emulate such a graph, but the graph should not be shipped with it: by default it drops ReLUs before
    QuantizeLinear.
    """
    assert calibration is not None
    return Converted(*to_e4m3(model, calibration, where=where))


_PLANS = ("tensorrt", "tensorrt-rtx")
_ALL = ("onnx", *_PLANS)

PRECISIONS: Mapping[str, Precision] = {
    "fp32": Precision("fp32", unchanged, needs_calibration=False, tolerance=1e-4, agreement=1.0, formats=_ALL),
    "fp16": Precision("fp16", to_fp16, needs_calibration=True, tolerance=None, agreement=0.9, formats=_ALL),
    "bf16": Precision("bf16", to_bf16, needs_calibration=False, tolerance=None, agreement=0.9, formats=_ALL),
    "fp8": Precision("fp8", to_fp8, needs_calibration=True, tolerance=None, agreement=0.9, formats=_PLANS),
    "int8-u8s8": Precision("int8", to_int8, needs_calibration=True, tolerance=None, agreement=0.9, formats=("onnx",)),
    "int8-s8s8": Precision("int8", to_int8_symmetric, needs_calibration=True, tolerance=None, agreement=0.9, formats=_PLANS),
}
"""Graphs by name. int8 has several graphs, because runtimes need different types; the name says which one it is."""


def graphs_for(form: str) -> dict[str, str]:
    """For each precision that a format builds from a typed graph: the graph's name in PRECISIONS."""
    return {precision.name: name for name, precision in PRECISIONS.items() if form in precision.formats}


def check_found(found: Mapping[str, int], *, asked: str, source: ModelProto, where: str, kept: int = 0) -> None:
    """Raise InvalidInputError unless all weighted layers of `source` were found in the requested precision.

    kept: number of layers that the builder left in fp32. Exactly this number may be found in fp32, and it must be less than
    half of all.
    """
    layers = sum(found_precisions(source).values())
    due = {asked: layers - kept, "fp32": kept} if kept else {asked: layers}
    if dict(found) != due or 2 * kept >= layers:
        counts = ", ".join(f"{count} {name}" for name, count in found.items()) or "none"
        raise InvalidInputError(f"{where}: asked for {asked} in {layers} layers and found {counts}; nothing was written")
