"""fp8 (E4M3) for ONNX graphs: scales from the calibration images and the weights, Q/DQ around weighted layers.

Micikevicius et al. 2022, https://arxiv.org/abs/2209.05433: 4 exponent bits, 3 mantissa bits, no infinity, largest value 448.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from skinaudit.engines.onnx_graph import WEIGHTED
from skinaudit.errors import InvalidInputError
from skinaudit.export.calibration import Calibration, tensor_peaks

LARGEST = 448.0
KIND = TensorProto.FLOAT8E4M3FN
_STEPS = 32
"""Number of scales tried for a channel, within a factor of 2. Beyond that factor the numbers of E4M3 repeat."""
_SILENT = 2.0**-20
"""Scale of a tensor that is 0 on all calibration images; it avoids a division by 0."""


def to_e4m3(model: ModelProto, calibration: Calibration, *, where: str) -> tuple[ModelProto, dict[str, Any]]:
    """A copy whose convolutions and linear layers have fp8 activations and weights, and the settings for its manifest.

    An activation's scale maps its largest absolute value on the calibration images to 448. Weights have one scale per output
    channel, the one with the least rounding error (see `best_scales`). Biases, normalisation and logits stay in float.
    Values beyond 448 saturate, as QuantizeLinear specifies. Raises InvalidInputError for a layer whose weights are not
    constant.
    """
    quantised = ModelProto()
    quantised.CopyFrom(model)
    graph = quantised.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type in WEIGHTED]
    for layer in layers:
        if layer.input[1] not in constants:
            raise InvalidInputError(f"{where}: the weights of {layer.name} are not constant; export it as fp16")
    activations = list(dict.fromkeys(layer.input[0] for layer in layers))
    scales = {
        name: max(float(peak) / LARGEST, _SILENT)
        for name, peak in zip(activations, tensor_peaks(model, activations, calibration), strict=True)
    }
    nodes: list[NodeProto] = []
    added: list[TensorProto] = [numpy_helper.from_array(_rounded(np.zeros((), np.float32)), "fp8_zero")]
    done: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in WEIGHTED:
            activation, weights = node.input[:2]
            if activation not in done:
                done[activation] = f"{activation}_fp8_dequantised"
                added.append(numpy_helper.from_array(np.array(scales[activation], np.float32), f"{activation}_fp8_scale"))
                nodes += _rounding(activation)
            if weights not in done:
                done[weights] = f"{weights}_fp8_dequantised"
                tensors, dequantise = _stored(constants[weights], axis=_output_axis(node, constants[weights]))
                added += tensors
                nodes.append(dequantise)
            node.input[0], node.input[1] = done[activation], done[weights]
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    for part, content in (("node", nodes), ("initializer", [*kept, *added])):
        copies = [type(message).FromString(message.SerializeToString()) for message in content]
        graph.ClearField(part)
        getattr(graph, part).extend(copies)
    return quantised, {
        "format": "QDQ",
        "activations": "E4M3 per tensor",
        "weights": "E4M3 per channel",
        "biases": "float",
        "calibration": "largest value",
        "weight_scales": "least squared error",
        "calibration_images": len(calibration.images),
    }


def _rounding(name: str) -> list[NodeProto]:
    """Round an activation to fp8 and back."""
    parameters = [f"{name}_fp8_scale", "fp8_zero"]
    down = helper.make_node("QuantizeLinear", [name, *parameters], [f"{name}_fp8"], name=f"{name}_to_fp8")
    up = helper.make_node(
        "DequantizeLinear", [f"{name}_fp8", *parameters], [f"{name}_fp8_dequantised"], name=f"{name}_from_fp8"
    )
    return [down, up]


def _stored(tensor: TensorProto, *, axis: int) -> tuple[list[TensorProto], NodeProto]:
    """Weights as fp8 constants with one scale per index along `axis`, and the node that converts them to float."""
    value, name = numpy_helper.to_array(tensor), tensor.name
    scale = best_scales(value, axis=axis)
    shape = [-1 if side == axis else 1 for side in range(value.ndim)]
    tensors = [
        numpy_helper.from_array(_rounded(value / scale.reshape(shape)), f"{name}_fp8"),
        numpy_helper.from_array(scale, f"{name}_fp8_scale"),
        numpy_helper.from_array(_rounded(np.zeros_like(scale)), f"{name}_fp8_zero"),
    ]
    names = [stored.name for stored in tensors]
    output = f"{name}_fp8_dequantised"
    return tensors, helper.make_node("DequantizeLinear", names, [output], name=f"{name}_from_fp8", axis=axis)


def best_scales(weights: NDArray[np.float32], *, axis: int) -> NDArray[np.float32]:
    """The scale (C,) of each channel along `axis` with the least squared rounding error.

    Only scales that put the channel's largest value between 224 and 448 are tried. Three mantissa bits round a value by up
    to 1/16 of itself, and the scale decides which values are rounded little.
    """
    other_axes = tuple(side for side in range(weights.ndim) if side != axis)
    shape = [-1 if side == axis else 1 for side in range(weights.ndim)]
    largest = np.maximum(np.abs(weights).max(axis=other_axes) / np.float32(LARGEST), np.float32(_SILENT))
    candidates = [(largest * 2 ** np.float32(step / _STEPS)).astype(np.float32) for step in range(_STEPS)]
    errors = [
        np.square(_rounded(weights / scale.reshape(shape)).astype(np.float32) * scale.reshape(shape) - weights).sum(
            other_axes
        )
        for scale in candidates
    ]
    best: NDArray[np.float32] = np.array(candidates)[np.argmin(errors, axis=0), np.arange(len(largest))]
    return best


def _rounded(value: NDArray[Any]) -> NDArray[Any]:
    """The nearest numbers of E4M3; the largest one beyond 448."""
    rounded: NDArray[Any] = np.clip(value, -LARGEST, LARGEST).astype(helper.tensor_dtype_to_np_dtype(KIND))
    return rounded


def _output_axis(node: NodeProto, weights: TensorProto) -> int:
    """The axis of the weights that belongs to the layer's outputs."""
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "Conv" or (node.op_type == "Gemm" and attributes.get("transB")):
        return 0
    return 1 if node.op_type in ("Gemm", "ConvTranspose") else len(weights.dims) - 1
