"""The layers of an ONNX file: standard operators, and operators written by ONNX Runtime's optimiser."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx.inliner
from onnx import ModelProto, NodeProto, helper

from skinaudit.engines import onnx_graph
from skinaudit.engines.networks.integer_operators import INTEGER
from skinaudit.engines.networks.layers import Layer, image
from skinaudit.engines.networks.onnx_operators import DOMAINS, OPERATORS, Call
from skinaudit.engines.networks.stored import Stored, folded, stored
from skinaudit.errors import EngineError, in_one_line

_UNFIT = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors that mean: the operator's inputs do not fit any layer known here. The operator then becomes kind `other`."""


_OF_RUNTIMES = ("ai.onnx", "com.microsoft", "com.ms.", "org.pytorch")
"""Prefixes of the domains whose operators a runtime implements itself; the empty domain is also one."""

_LARGEST = 2**28
"""Largest constant that is computed here, in numbers; the largest layer of VGG16 has 103 million."""


def network_of_file(path: Path) -> Layer:
    """The output layer of an ONNX file, with its external data; raises the EngineError of onnx_graph.load."""
    model = onnx_graph.load_with_weights(path)
    try:
        return network_of_model(model)
    except (*_UNFIT, MemoryError, RecursionError) as error:
        raise EngineError(f"{path}: not a readable ONNX graph ({in_one_line(error)}); export it again") from error


def network_of_model(model: ModelProto) -> Layer:
    """The output layer of a graph.

    An operator that is not a known layer becomes one of kind `other`. The same happens to the whole graph if runtimes may
    read the file in different ways.
    """
    doubt = _ambiguous(model)
    if doubt:
        return _unknown(doubt)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    graph = model.graph
    values: dict[str, Layer | Stored] = {tensor.name: stored(tensor) for tensor in graph.initializer}
    for port in graph.input:
        sides = [side.dim_value for side in port.type.tensor_type.shape.dim]
        values.setdefault(port.name, image(sides[1], sides[2]) if len(sides) == 4 else _unknown(port.name))
    for number, node in enumerate(graph.node):
        origin = f"{node.name or f'node {number}'} ({node.op_type})"
        values.update((name, _unknown(f"{name} of {origin}")) for name in node.output)
        results = _results(node, values, origin=origin)
        values.update((name, result) for name, result in zip(node.output, results, strict=False) if name)
    answer = values.get(graph.output[0].name)
    return answer if isinstance(answer, Layer) else _unknown("an output that does not depend on the image")


def _ambiguous(model: ModelProto) -> str:
    """Parts of the file that runtimes may read in different ways, in words; empty if there are none.

    If a name or a setting is given twice, one reader takes the first value and another the last. If a function has the name
    of a runtime's own operator, it may replace that operator or not.
    """
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    for node in nodes:
        settings = [attribute.name for attribute in node.attribute]
        if len(set(settings)) < len(settings):
            return f"{node.name or node.op_type}, which has one setting twice"
        if node.op_type == "Constant" and len(settings) != 1:
            return f"{node.name or node.op_type}, a Constant with {len(settings)} values"
        if node.overload:
            return f"{node.name or node.op_type}, one of several functions of one name"
    for function in model.functions:
        if function.overload:
            return f"one of several functions that are called {function.name}"
        if not function.domain or function.domain.startswith(_OF_RUNTIMES):
            return f"a function of the file with the name of the runtime's own operator {function.name}"
    graph = model.graph
    stored_names = [tensor.name for tensor in graph.initializer] + [
        sparse.values.name for sparse in graph.sparse_initializer
    ]
    ports = {port.name for port in graph.input} - set(stored_names)
    names = Counter((*stored_names, *ports, *(name for node in graph.node for name in node.output if name)))
    twice = next((name for name, times in names.items() if times > 1), "")
    if twice:
        return f"{twice}, which the file defines twice"
    return "" if len(graph.output) == 1 else f"one of {len(graph.output)} outputs"


def _size(operator: str, constants: Sequence[Stored | None]) -> float:
    """Estimated size of a folded constant. An operator that repeats data can make it much larger than the file."""
    raws = [value.raw for value in constants if value is not None]
    if operator in ("ConstantOfShape", "Expand") and raws:
        return math.prod(max(float(side), 1.0) for side in raws[-1].reshape(-1)) * raws[0].size
    if operator == "Range" and len(raws) == 3:
        start, limit, step = (float(value.reshape(-1)[0]) for value in raws)
        return abs((limit - start) / step) if step else math.inf
    if operator == "Gather" and len(raws) == 2:
        return float(raws[0].size) * raws[1].size
    if operator in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"):
        return float(math.prod(np.broadcast_shapes(*(raw.shape for raw in raws))))
    return 0.0


def _unknown(origin: str) -> Layer:
    return Layer("other", (), (), origin, (origin,))


def _layer(call: Call) -> Layer | list[Layer] | None:
    """The layer for a node, or a list of layers for a node with several results."""
    layer = None
    if call.domain not in DOMAINS:
        return None
    for table in (INTEGER, OPERATORS):
        try:
            layer = table[call.operator](call) if layer is None and call.operator in table else layer
        except _UNFIT:
            layer = None
    return layer


def _results(node: NodeProto, values: Mapping[str, Layer | Stored], *, origin: str) -> list[Layer | Stored]:
    attributes: dict[str, Any] = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "Constant" and "value" in attributes:
        return [stored(attributes["value"])]
    inputs = [
        values.get(name, _unknown(f"{name}, which is defined later or not at all")) if name else None for name in node.input
    ]
    result: Layer | Stored | list[Layer] | None = None
    try:
        constants = [value for value in inputs if not isinstance(value, Layer)]
        if inputs and len(constants) == len(inputs) and _size(node.op_type, constants) <= _LARGEST:
            result = folded(node, constants, attributes)
        elif inputs and inputs[0] is not None:
            result = _layer(Call(node.op_type, node.domain, inputs, attributes, origin))
    except _UNFIT:
        result = None
    if result is not None:
        return [*result] if isinstance(result, list) else [result]
    layers = tuple(value for value in inputs if isinstance(value, Layer))
    settings = (node.op_type, *sorted((name, str(value)) for name, value in attributes.items()))
    numbers = tuple(str(value.integers()) for value in inputs[1:] if isinstance(value, Stored) and value.raw.size < 64)
    return [Layer("other", layers, (), origin, (*settings, *numbers, place)) for place in range(len(node.output))]
