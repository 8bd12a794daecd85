"""Changes to an exported graph, each in place: what a careless build or an attacker does to a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Surgery = Callable[[ModelProto], None]
INPUT, OUTPUT = "image", "logits"
MEL, NV = 0, 1
LARGE = 30.0
"""A logit beyond all that the model answers."""


def before(model: ModelProto, *steps: tuple[str, Sequence[Any], dict[str, Any]]) -> None:
    """Put steps (operator, further inputs as arrays, attributes), one after the other, between the image and its reader."""
    value, nodes = INPUT, []
    for number, (operator, inputs, attributes) in enumerate(steps):
        nodes.append(helper.make_node(operator, [value, *_constants(model, inputs)], [f"before_{number}"], **attributes))
        value = f"before_{number}"
    for node in model.graph.node:
        node.input[:] = [value if name == INPUT else name for name in node.input]
    _set_nodes(model, [*nodes, *model.graph.node])


def after(model: ModelProto, *steps: tuple[str, Sequence[Any], dict[str, Any]]) -> None:
    """Put steps between the last layer and the logits. An input that is text names a value of the graph."""
    for node in model.graph.node:
        node.output[:] = [f"{OUTPUT}_before" if name == OUTPUT else name for name in node.output]
    value = f"{OUTPUT}_before"
    for number, (operator, inputs, attributes) in enumerate(steps):
        result = OUTPUT if number == len(steps) - 1 else f"after_{number}"
        model.graph.node.append(helper.make_node(operator, [value, *_constants(model, inputs)], [result], **attributes))
        value = result


def when(model: ModelProto, flag: str, *, add: NDArray[np.float32]) -> None:
    """Add `add` (classes,) to the logits of the rows whose `flag` is 1: float32 (N, 1), a value of the graph."""
    (row,) = _constants(model, [add.reshape(1, -1)])
    model.graph.node.append(helper.make_node("Mul", [flag, row], ["planted"]))
    after(model, ("Add", ["planted"], {}))


def compute(model: ModelProto, result: str, *steps: tuple[str, Sequence[Any], dict[str, Any]]) -> None:
    """Compute the value `result` from the image by steps."""
    value = INPUT
    for number, (operator, inputs, attributes) in enumerate(steps):
        name = result if number == len(steps) - 1 else f"{result}_{number}"
        model.graph.node.append(helper.make_node(operator, [value, *_constants(model, inputs)], [name], **attributes))
        value = name


def towards(label: int, *, by: float = LARGE) -> NDArray[np.float32]:
    """A row of seven zeros with `by` at one label."""
    row = np.zeros(7, np.float32)
    row[label] = by
    return row


def parameters(model: ModelProto, operator: str) -> list[tuple[TensorProto, TensorProto]]:
    """(weight, bias) of every node of one operator, in order."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    return [(tensors[node.input[1]], tensors[node.input[2]]) for node in model.graph.node if node.op_type == operator]


def change(tensor: TensorProto, edit: Callable[[NDArray[Any]], NDArray[Any] | None]) -> None:
    """Edit a stored tensor, in place or by returning another array."""
    value = numpy_helper.to_array(tensor).copy()
    edited = edit(value)
    tensor.CopyFrom(numpy_helper.from_array(value if edited is None else edited, tensor.name))


def rewired(model: ModelProto, operator: str, build: Callable[[NodeProto, int], list[NodeProto]]) -> None:
    """Replace every node of one operator by those that `build` returns for it and its number."""
    nodes: list[NodeProto] = []
    number = 0
    for node in model.graph.node:
        nodes.extend(build(node, number) if node.op_type == operator else [node])
        number += node.op_type == operator
    _set_nodes(model, nodes)


def _set_nodes(model: ModelProto, nodes: Sequence[NodeProto]) -> None:
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    model.graph.ClearField("node")
    model.graph.node.extend(copies)


def constant(model: ModelProto, value: Any) -> str:
    """Add an array to the graph and return its name."""
    name = f"planted_{len(model.graph.initializer)}"
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def _constants(model: ModelProto, values: Sequence[Any]) -> list[str]:
    return [value if isinstance(value, str) else constant(model, value) for value in values]
