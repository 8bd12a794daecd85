"""Set the weights of dead channels to 0. Such channels are 0 for every image, so their weights in the next layer have no
effect.

In models that start from ImageNet weights some channels have died: they have no weights left, and a bias at or below 0,
which the ReLU turns into 0. The batch norm behind the next, depthwise convolution has then seen a variance of nearly 0,
and folding it makes weights of over a thousand where the others have 1. NNCF gives no channel of a layer a step below a
hundredth of the layer's largest. So these dead weights alone leave the living channels a few levels of 255.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, numpy_helper

from skinaudit.export.equalise import multiply, pairs


def without_dead_channels(model: ModelProto) -> tuple[ModelProto, int]:
    """The same function, bit for bit, and how many channels are dead. The graph is not changed in place."""
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
