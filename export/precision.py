"""Typed graphs that an fp32 graph can be rewritten as. A new one is a function and a row in `PRECISIONS`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import onnx.shape_inference
import onnx.version_converter
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from skinaudit.engines.onnx_graph import WEIGHTED, found_precisions
from skinaudit.errors import InvalidInputError
from skinaudit.export.calibration import Calibration, largest_activation
from skinaudit.export.int8 import quantise

FP16_LARGEST = 65504.0
BF16_OPSET = 22
"""The first in which a convolution takes bfloat16."""


@dataclass(frozen=True, eq=False)
class Converted:
    """A rewritten graph and the settings and counts that its manifest records."""

    model: ModelProto
    settings: Mapping[str, Any] = field(default_factory=dict)


class Convert(Protocol):
    """Rewrites an fp32 graph without changing it; calibration is None where the precision needs none."""

    def __call__(self, model: ModelProto, calibration: Calibration | None, *, where: str) -> Converted:
        """Errors name `where`."""


@dataclass(frozen=True)
class Precision:
    """How to rewrite an fp32 graph, and the parity with the source model below which the file is refused.

    name: the precision that its layers shall be found in.
    tolerance: largest absolute logit difference, relative to the largest source logit; None where it is only recorded.
    agreement: smallest share of images with the same prediction, near-ties within the tolerance aside.
    """

    name: str
    convert: Convert
    needs_calibration: bool
    tolerance: float | None
    agreement: float


def unchanged(model: ModelProto, calibration: Calibration | None, *, where: str) -> Converted:
    """fp32: the graph as it was exported."""
    return Converted(model)


def to_fp16(model: ModelProto, calibration: Calibration | None, *, where: str) -> Converted:
    """Weights and arithmetic in fp16 from the first weighted layer on; `image`, normalisation and `logits` stay float32.

    Normalising in fp32 costs elementwise work on three channels. Rounded to fp16 before the mean is subtracted, a pixel
    would carry an error of up to 1/16 of an 8-bit step even where the difference is near zero.
    Raises InvalidInputError where a weight, or an activation on the calibration images, exceeds fp16's largest number,
    65504: a CPU computes the file in fp32 and would not show it.
    """
    assert calibration is not None
    model = onnx.shape_inference.infer_shapes(model)
    peak = largest_activation(model, calibration)
    if peak > FP16_LARGEST:
        raise InvalidInputError(f"{where}: activations reach {peak:.3g}, fp16 ends at 65504; export as fp32 or int8")
    converted, underflowed = _cast(model, TensorProto.FLOAT16, where=where)
    settings = {"normalisation": "fp32", "weights_rounded_to_zero": underflowed, "largest_activation": peak}
    return Converted(converted, settings)


def to_bf16(model: ModelProto, calibration: Calibration | None, *, where: str) -> Converted:
    """As to_fp16 in bfloat16: the range of fp32 with 8 bits of mantissa, so nothing overflows. Needs opset 22."""
    model = onnx.version_converter.convert_version(model, BF16_OPSET)
    converted, underflowed = _cast(onnx.shape_inference.infer_shapes(model), TensorProto.BFLOAT16, where=where)
    return Converted(converted, {"normalisation": "fp32", "weights_rounded_to_zero": underflowed, "opset": BF16_OPSET})


def _cast(model: ModelProto, kind: int, *, where: str) -> tuple[ModelProto, int]:
    """The graph with everything from the first weighted layer on in half precision, and how many weights became zero."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    values = (*graph.input, *graph.value_info, *graph.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT} - weights.keys()
    nodes: list[NodeProto] = []
    renamed: dict[str, str] = {}  # float32 value -> its half precision twin
    computed: set[str] = set()  # values that the half precision part computes
    for node in graph.node:
        if node.op_type in WEIGHTED or not computed.isdisjoint(node.input):
            for name in node.input:
                if name in floats - computed and name not in renamed:
                    nodes.append(helper.make_node("Cast", [name], [f"{name}_half"], to=kind))
                if name in floats | weights.keys():
                    renamed[name] = f"{name}_half"
            computed.update(floats.intersection(node.output))
            renamed |= {name: f"{name}_half" for name in floats.intersection(node.output)}
            _rename(node, renamed)
        nodes.append(node)
    outputs = [value.name for value in graph.output if value.name in computed]
    nodes.extend(helper.make_node("Cast", [renamed[name]], [name], to=TensorProto.FLOAT) for name in outputs)
    halves, underflowed = _half([weights[name] for name in weights if name in renamed], kind, where=where)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    for part, content in (("node", nodes), ("initializer", kept + halves), ("value_info", [])):
        graph.ClearField(part)
        getattr(graph, part).extend(content)
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True), underflowed


def to_int8(model: ModelProto, calibration: Calibration | None, *, where: str) -> Converted:
    """Static Q/DQ for CPUs: asymmetric u8 activations per tensor, symmetric s8 weights per channel, s32 biases.

    Normalisation and logits stay float: logits in 8 bit would tie, and end at the range of the calibration images. CPUs
    without VNNI add pairs of products in 16 bits and may saturate: an audit counts for the kind of CPU that it ran on.
    Raises MissingDependencyError without onnxruntime.
    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    assert calibration is not None
    return Converted(*quantise(model, calibration, symmetric=False, where=where))


def to_int8_symmetric(model: ModelProto, calibration: Calibration | None, *, where: str) -> Converted:
    """Static Q/DQ for TensorRT: symmetric s8 activations per tensor, symmetric s8 weights per channel, biases in float.

    TensorRT takes zero points of 0 alone and refuses s32 biases. Otherwise as to_int8; on a CPU with VNNI it is slower.
    """
    assert calibration is not None
    return Converted(*quantise(model, calibration, symmetric=True, where=where))


PRECISIONS: Mapping[str, Precision] = {
    "fp32": Precision("fp32", unchanged, needs_calibration=False, tolerance=1e-4, agreement=1.0),
    "fp16": Precision("fp16", to_fp16, needs_calibration=True, tolerance=None, agreement=0.9),
    "bf16": Precision("bf16", to_bf16, needs_calibration=False, tolerance=None, agreement=0.9),
    "int8-u8s8": Precision("int8", to_int8, needs_calibration=True, tolerance=None, agreement=0.9),
    "int8-s8s8": Precision("int8", to_int8_symmetric, needs_calibration=True, tolerance=None, agreement=0.9),
}
"""Graphs by name. Of int8 there are several, for runtimes that want other types: the name says which."""


def check_found(found: Mapping[str, int], *, asked: str, source: ModelProto, where: str, kept: int = 0) -> None:
    """Raise InvalidInputError unless all weighted layers of `source` were found in the precision asked for.

    kept: how many of them the builder says that it left in fp32: these must be found there, and be less than half of all.
    """
    layers = sum(found_precisions(source).values())
    due = {asked: layers - kept, "fp32": kept} if kept else {asked: layers}
    if dict(found) != due or 2 * kept >= layers:
        counts = ", ".join(f"{count} {name}" for name, count in found.items()) or "none"
        raise InvalidInputError(f"{where}: asked for {asked} in {layers} layers and found {counts}; nothing was written")


def _half(tensors: Sequence[TensorProto], kind: int, *, where: str) -> tuple[list[TensorProto], int]:
    """Half precision twins, and how many non-zero weights became zero; weights beyond the range are refused."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    largest = FP16_LARGEST if kind == TensorProto.FLOAT16 else float("inf")
    halves, overflowed, underflowed = [], 0, 0
    for tensor in tensors:
        value = numpy_helper.to_array(tensor)
        overflowed += int(np.count_nonzero(np.abs(value) > largest))
        half = np.clip(value, -largest, largest).astype(dtype)
        underflowed += int(np.count_nonzero(value) - np.count_nonzero(half))
        halves.append(numpy_helper.from_array(half, f"{tensor.name}_half"))
    if overflowed:
        raise InvalidInputError(f"{where}: {overflowed} weights exceed 65504, where fp16 ends; export as fp32 or int8")
    return halves, underflowed


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    for values in (node.input, node.output):
        for position, name in enumerate(values):
            values[position] = names.get(name, name)
