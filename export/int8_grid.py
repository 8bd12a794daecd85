"""Rounding that an int8 graph does not need: of weights on the int8 grid, and of values that only a ReLU reads."""

from __future__ import annotations

from collections import Counter

import numpy as np
from onnx import ModelProto, numpy_helper

from skinaudit.engines.onnx_graph import WEIGHTED

LEVELS = 127
"""Largest code of a weight."""
_TOLERANCE = 1e-3
"""Largest distance of float32 weights from the int8 grid, in steps."""


def weights_on_grid(model: ModelProto) -> bool:
    """Whether int8 represents the constant weights of all layers exactly, as after `skinaudit train --for-int8`.

    Every weight is then a multiple of 1/127 of the largest weight of its output channel. Equalised channels are not on the
    grid.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in WEIGHTED and node.input[1] in constants]
    for layer in layers:
        weight = numpy_helper.to_array(constants[layer.input[1]]).astype(np.float64)
        turned = any(attribute.name == "transB" and attribute.i for attribute in layer.attribute)
        if layer.op_type != "Conv" and not turned:
            weight = np.moveaxis(weight, -1, 0)
        rows = weight.reshape(len(weight), -1)
        steps = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True) / LEVELS, 1e-30)
        if (np.abs(steps - np.rint(steps)) > _TOLERANCE).any():
            return False
    return bool(layers)


def share_ranges_of_relus(model: ModelProto) -> None:
    """Give the input of a ReLU, or of one with an upper bound, the range of its output if nothing else reads it.

    In place; for symmetric ranges. Values below 0 or above the bound are cut off anyway, so they need no codes.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    readers = {name: node for node in model.graph.node for name in node.input}
    count = Counter(name for node in model.graph.node for name in node.input)
    for relu in (node for node in model.graph.node if node.op_type in ("Relu", "Clip")):
        before, after = producers.get(relu.input[0]), readers.get(relu.output[0])
        if before is None or after is None or before.op_type != "DequantizeLinear" or after.op_type != "QuantizeLinear":
            continue
        scale = before.input[1]
        if count[before.output[0]] == 1 and count[scale] == 2 and {scale, after.input[1]} <= constants.keys():
            values = numpy_helper.to_array(constants[after.input[1]])
            constants[scale].CopyFrom(numpy_helper.from_array(values, scale))
