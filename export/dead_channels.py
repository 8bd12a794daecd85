"""Set the weights of dead channels to 0. A dead channel is 0 for every image, so its weights in the next layer do nothing.

Some channels of models that start from ImageNet weights are dead: their weights are 0 and their bias is at most 0, and the
ReLU turns that into 0. The batch norm after the next, depthwise convolution has then seen a variance of almost 0. Folding it
gives weights above a thousand, while the other channels have weights near 1. NNCF allows no channel a step below a hundredth
of the layer's largest step. So these useless weights would leave the living channels only a few of the 255 levels.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, numpy_helper

from skinaudit.export.equalise import multiply, pairs


def without_dead_channels(model: ModelProto) -> tuple[ModelProto, int]:
    """The same function, bit for bit, and the number of dead channels. The graph is not changed in place."""
    cleared = ModelProto()
    cleared.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in cleared.graph.initializer}
    count = 0
    for first, _, second in pairs(cleared, set(weights)):
        kernel, bias = (numpy_helper.to_array(weights[name]) for name in first.input[1:3])
        dead = ~kernel.any(axis=tuple(range(1, kernel.ndim))) & (bias <= 0)
        depthwise = weights[second.input[1]].dims[1] == 1
        multiply(weights[second.input[1]], np.where(dead, 0, 1).astype(np.float32), axis=0 if depthwise else 1)
        count += int(dead.sum())
    return cleared, count
