"""Cross-layer equalisation: give all channels of an activation the same range before it is quantised as one tensor.

Take two convolutions with a ReLU in between. Channel c may be divided by s_c > 0 in the first and multiplied by s_c in the
second: the function does not change, because ReLU is positively homogeneous (Nagel et al. 2019,
https://arxiv.org/abs/1906.04721). The scales follow the activations, as in SmoothQuant (Xiao et al. 2023,
https://arxiv.org/abs/2211.10438).
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx.shape_inference
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from skinaudit.export.calibration import Calibration, channel_peaks

_SMALLEST, _LARGEST = 2.0**-8, 2.0**8
"""Bounds of a scale. Beyond them a bias would not fit into the 32 bits to which it is quantised."""


def equalise(model: ModelProto, calibration: Calibration) -> tuple[ModelProto, int]:
    """The same function with equalised channels, and how many pairs of convolutions were rescaled.

    A depthwise second convolution has a quantisation scale for each channel, so all its channels get the same peak. With any
    other second convolution, activation and weights each take the square root of the spread. The graph is not changed in
    place.
    """
    rescaled = ModelProto()
    rescaled.CopyFrom(onnx.shape_inference.infer_shapes(model))
    weights = {tensor.name: tensor for tensor in rescaled.graph.initializer}
    convolutions = pairs(rescaled, set(weights))
    peaks = channel_peaks(rescaled, [relu for _, relu, _ in convolutions], calibration)
    for (first, _, second), peak in zip(convolutions, peaks, strict=True):
        scale = _scales(peak, numpy_helper.to_array(weights[second.input[1]]))
        for name in first.input[1:]:
            multiply(weights[name], np.reciprocal(scale), axis=0)
        depthwise = weights[second.input[1]].dims[1] == 1
        multiply(weights[second.input[1]], scale, axis=0 if depthwise else 1)
    return rescaled, len(convolutions)


def pairs(model: ModelProto, weights: set[str]) -> list[tuple[NodeProto, str, NodeProto]]:
    """Pairs (convolution, output of the ReLU after it, next convolution) between which no other node reads a value.

    The first convolution has its own bias, and no other node shares the weights of either.
    """
    readers = Counter(name for node in model.graph.node for name in node.input)
    reader = {name: node for node in model.graph.node for name in node.input}
    convolutions = []
    for first in model.graph.node:
        relu = reader.get(first.output[0])
        if first.op_type != "Conv" or relu is None or relu.op_type != "Relu":
            continue
        second = reader.get(relu.output[0])
        if second is None or second.op_type != "Conv" or readers[first.output[0]] + readers[relu.output[0]] != 2:
            continue
        parameters = (*first.input[1:], second.input[1])
        groups = next((attribute.i for attribute in second.attribute if attribute.name == "group"), 1)
        channels = next(tensor.dims[0] for tensor in model.graph.initializer if tensor.name == first.input[1])
        if all(name in weights and readers[name] == 1 for name in parameters) and groups in (1, channels):
            convolutions.append((first, relu.output[0], second))
    return convolutions


def _scales(peak: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divisors of the activation's channels (C,); 1 for a channel that is never active on the calibration images."""
    live = peak > 0
    if weight.shape[1] == 1:
        spread = peak / peak.max(initial=1e-30)
    else:
        reach = np.abs(weight).max(axis=(0, 2, 3))
        live &= reach > 0
        spread = np.sqrt(peak / np.where(reach > 0, reach, 1))
        spread = spread / np.median(spread[live]) if live.any() else spread
    return np.where(live, np.clip(spread, _SMALLEST, _LARGEST), 1).astype(np.float32)


def multiply(tensor: TensorProto, factors: NDArray[np.float32], *, axis: int) -> None:
    """Multiply a constant in place by one factor for each index along `axis`."""
    value = numpy_helper.to_array(tensor)
    shape = [1] * value.ndim
    shape[axis] = -1
    tensor.CopyFrom(numpy_helper.from_array((value * factors.reshape(shape)).astype(value.dtype), tensor.name))
