"""Find outliers among the calibration images. One of them can stretch the range of a layer a thousandfold.

A usual image then uses only a few of the 255 levels, and equalisation, which depends on the ranges, scales the wrong
channels.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx.shape_inference
from onnx import ModelProto, TensorProto

from skinaudit.export.calibration import Calibration, image_peaks

SHARE = 0.01
"""Share of the calibration images that is left out."""


_ACTIVATIONS = frozenset({"Relu", "Clip"})


def without_outliers(model: ModelProto, calibration: Calibration) -> Calibration:
    """The calibration images without the SHARE of images, at least one, whose values are the largest outliers.

    For each image and each tensor that gets a range, take the largest absolute value relative to that of the median image.
    The largest of these ratios over all tensors ranks the image. If there is only one image, it is kept.
    """
    peaks = image_peaks(model, _with_range(model), calibration)
    reach = np.max([peak / max(float(np.median(peak)), 1e-30) for peak in peaks], axis=0)
    dropped = min(math.ceil(SHARE * len(reach)), len(reach) - 1)
    kept = np.sort(np.argsort(reach, kind="stable")[: len(reach) - dropped])
    return replace(calibration, images=calibration.images[kept])


def _with_range(model: ModelProto) -> list[str]:
    """Float tensors with one row per image, without inputs of activations: these use the range of the output."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    (batch,) = (value.type.tensor_type.shape.dim[0].dim_param for value in graph.input)
    readers = Counter(name for node in graph.node for name in node.input)
    activated = Counter(name for node in graph.node if node.op_type in _ACTIVATIONS for name in node.input[:1])
    values = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info)}
    return [
        name
        for name, tensor in values.items()
        if tensor.elem_type == TensorProto.FLOAT
        and tensor.shape.dim
        and tensor.shape.dim[0].dim_param == batch
        and readers[name] != activated[name]
    ]
