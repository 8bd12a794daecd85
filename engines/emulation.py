"""Half precision computed in single precision: what rounding between layers does, on CPUs that have no such arithmetic."""

from __future__ import annotations

import onnx.shape_inference
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from skinaudit.engines.half import HALVES


def emulated(model: ModelProto) -> ModelProto:
    """The same graph in float32 with every half precision value rounded to its type, weights and results of nodes alike.

    Values beyond the type's range become infinite, as they would. What differs from the real thing is the sum within a
    layer, which is float32 here and may be half precision there.
    """
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    values = (*typed.graph.input, *typed.graph.value_info, *typed.graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    wide = ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    nodes: list[NodeProto] = []
    for node in graph.node:
        halves = {name: kinds[name] for name in node.output if kinds.get(name) in HALVES.values()}
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
