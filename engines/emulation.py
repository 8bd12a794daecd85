"""Half precision emulated in float32: values are rounded between layers. For CPUs without half precision."""

from __future__ import annotations

import onnx.shape_inference
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from skinaudit.engines.half import HALVES

_MOVING = frozenset({"Relu", "MaxPool", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})
"""Operators whose results are a subset of their input values, or 0."""


def emulated(model: ModelProto) -> ModelProto:
    """The same graph in float32, with every half precision value rounded to its type: weights and results of nodes.

    Values beyond the range of the type become infinite, as in half precision. One difference remains: sums inside a layer
    are float32 here and may be half precision there. Some roundings are left out because they change no bit: operators that
    only move values need none, and around a ReLU one rounding is enough. This halves the time.
    """
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    values = (*typed.graph.input, *typed.graph.value_info, *typed.graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    wide = ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    nodes: list[NodeProto] = []
    exact = _exact(graph, {name for name, kind in kinds.items() if kind in HALVES.values()})
    for node in graph.node:
        halves = {name: kinds[name] for name in node.output if kinds.get(name) in HALVES.values() and name not in exact}
        if node.op_type == "Cast":
            target = next(attribute for attribute in node.attribute if attribute.name == "to")
            target.i = TensorProto.FLOAT if target.i in HALVES.values() else target.i
        for position, name in enumerate(node.output):
            if name in halves:
                node.output[position] = f"{name}_wide"
        nodes.append(node)
        for name, kind in halves.items():
            nodes.append(helper.make_node("Cast", [f"{name}_wide"], [f"{name}_rounded"], to=kind))
            nodes.append(helper.make_node("Cast", [f"{name}_rounded"], [name], to=TensorProto.FLOAT))
    constants = [
        numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name)
        if tensor.data_type in HALVES.values()
        else tensor
        for tensor in graph.initializer
    ]
    for part, content in (("node", nodes), ("initializer", constants), ("value_info", [])):
        copies = [type(message).FromString(message.SerializeToString()) for message in content]
        graph.ClearField(part)
        getattr(graph, part).extend(copies)
    return wide


def _exact(graph: GraphProto, halves: set[str]) -> set[str]:
    """Half precision values that need no rounding.

    These are rounded values that are only moved, and values that only a ReLU reads: its result is rounded instead.
    """
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    results = {port.name for port in graph.output}
    deferred = {
        name
        for name in halves - results
        if (reading := readers.get(name)) and all(node.op_type == "Relu" and node.output[0] in halves for node in reading)
    }
    moved = {
        node.output[0]
        for node in graph.node
        if node.op_type in _MOVING and node.input[0] in halves - deferred and node.output[0] in halves
    }
    return deferred | moved
