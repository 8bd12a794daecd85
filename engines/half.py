"""Convert an fp32 graph to half precision, for export and for the emulation of engines with half precision weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx.shape_inference
import onnx.version_converter
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from skinaudit.engines.onnx_graph import WEIGHTED
from skinaudit.errors import InvalidInputError

FP16_LARGEST = 65504.0
HALVES: Mapping[str, int] = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
"""Half precision types by name."""
BF16_OPSET = 22
"""The first opset in which a convolution accepts bfloat16."""


def has_half(model: ModelProto, kinds: frozenset[int] = frozenset(HALVES.values())) -> bool:
    """Whether a graph has constants, such as weights, of one of these types."""
    return not kinds.isdisjoint(tensor.data_type for tensor in model.graph.initializer)


def to_half(model: ModelProto, kind: int, *, where: str) -> tuple[ModelProto, int]:
    """A copy in half precision from the first weighted layer on, and the number of non-zero weights that became zero.

    kind: a value of HALVES; for bfloat16 the copy has opset BF16_OPSET. Raises InvalidInputError, which names `where`, if a
    weight is beyond the range of the type.
    """
    if kind == TensorProto.BFLOAT16:
        model = onnx.version_converter.convert_version(model, BF16_OPSET)
    model = onnx.shape_inference.infer_shapes(model)
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
    remaining = [tensor for tensor in graph.initializer if tensor.name in used]
    for part, content in (("node", nodes), ("initializer", remaining + halves), ("value_info", [])):
        graph.ClearField(part)
        getattr(graph, part).extend(content)
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True), underflowed


def _half(tensors: Sequence[TensorProto], kind: int, *, where: str) -> tuple[list[TensorProto], int]:
    """Half precision copies, and the number of non-zero weights that became zero; raises for weights beyond the range."""
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
        raise InvalidInputError(
            f"{where}: {overflowed} weights exceed 65504, the largest fp16 value; export as fp32 or int8"
        )
    return halves, underflowed


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    for values in (node.input, node.output):
        for position, name in enumerate(values):
            values[position] = names.get(name, name)
