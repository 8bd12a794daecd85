"""Bias correction: rounding shifts the mean output of a layer's channels, and its bias is changed to undo the shift.

Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.2, with means measured on the calibration images.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from skinaudit.engines.onnx_graph import WEIGHTED
from skinaudit.export.calibration import Calibration, channel_means


def correct_biases(quantised: ModelProto, source: ModelProto, calibration: Calibration) -> tuple[ModelProto, int]:
    """A copy whose layers have the same mean outputs as the layers of `source`, and how many layers were corrected.

    source: the fp32 graph that was quantised. Layers are matched by name; means are taken over the calibration images. The
    layers are corrected in order, so each sees the corrected layers before it. Layers without a constant bias of their own
    stay as they are. The graphs are not changed in place.
    """
    corrected = ModelProto()
    corrected.CopyFrom(quantised)
    biases = _biases(corrected)
    kernels = {tensor.name: tensor for tensor in source.graph.initializer}
    axes = {  # channels are axis 1 in the outputs of convolutions of any rank and of Gemm
        layer.output[0]: (0, *range(2, len(kernels[layer.input[1]].dims)))
        for layer in source.graph.node
        if layer.name in biases and layer.input[1] in kernels
    }
    outputs = {layer.name: layer.output[0] for layer in source.graph.node if layer.output[0] in axes}
    expected = channel_means(source, axes, calibration)
    layers = [layer for layer in corrected.graph.node if layer.name in outputs]
    for layer in layers:
        output, due = layer.output[0], outputs[layer.name]
        mean = channel_means(_upto(corrected, output), {output: axes[due]}, calibration)[output]
        bias, scale = biases[layer.name]
        shift = (expected[due] - mean) / scale
        value = numpy_helper.to_array(bias)
        moved = value + (np.rint(shift) if value.dtype.kind == "i" else shift)
        bias.CopyFrom(numpy_helper.from_array(moved.astype(value.dtype), bias.name))
    return corrected, len(layers)


def _biases(model: ModelProto) -> dict[str, tuple[TensorProto, NDArray[np.float32]]]:
    """The stored bias of each weighted layer and its scale, by layer name; a bias that several layers share is left out."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    readers = Counter(name for node in model.graph.node for name in node.input)
    bias_of = {}
    for layer in model.graph.node:
        if layer.op_type not in WEIGHTED or len(layer.input) < 3:
            continue
        name, scale = layer.input[2], np.ones((), np.float32)
        above = producers.get(name)
        if above is not None and above.op_type == "DequantizeLinear" and readers[name] == 1:
            name, scale = above.input[0], numpy_helper.to_array(constants[above.input[1]])
        if name in constants and readers[name] == 1:
            bias_of[layer.name] = (constants[name], scale)
    return bias_of


def _upto(model: ModelProto, output: str) -> ModelProto:
    """The part of a graph that computes `output`. `output` need not be an output of the whole graph."""
    needed, nodes = {output}, list[NodeProto]()
    for node in reversed(model.graph.node):
        if not needed.isdisjoint(node.output):
            nodes.append(node)
            needed.update(node.input)
    part = ModelProto()
    part.CopyFrom(model)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    for field in ("node", "initializer", "output"):
        part.graph.ClearField(field)
    part.graph.node.extend(reversed(nodes))
    part.graph.initializer.extend(kept)
    return part
