"""The means of every layer's channels after their biases were corrected."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from skinaudit.export.bias_correction import correct_biases
from skinaudit.export.calibration import BATCH, Calibration, channel_means
from skinaudit.export.int8 import _with_ranges

LAYERS = 4


@pytest.fixture(params=[False, True], ids=["u8s8", "s8s8"])
def quantised(request: pytest.FixtureRequest, graph: ModelProto, calibration: Calibration) -> ModelProto:
    """The int8 graph, with biases of the first layer that are off by half of the largest."""
    int8 = _with_ranges(graph, graph, calibration, method="minmax", symmetric=request.param, where="m")
    first = next(node for node in int8.graph.node if node.op_type == "Conv")
    above = {name: node.input[0] for node in int8.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    name = above.get(first.input[2], first.input[2])
    tensor = next(tensor for tensor in int8.graph.initializer if tensor.name == name)
    value = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((value + np.abs(value).max() / 2).astype(value.dtype), tensor.name))
    return int8


def means(model: ModelProto, source: ModelProto, pixels: Calibration) -> dict[str, np.ndarray]:
    """By layer, of the outputs that carry its name's node."""
    names = [node.name for node in source.graph.node if node.op_type in ("Conv", "Gemm")]
    outputs = {node.output[0]: node for node in model.graph.node if node.name in names}
    axes = {output: (0, 2, 3) if node.op_type == "Conv" else (0,) for output, node in outputs.items()}
    return {outputs[output].name: mean for output, mean in channel_means(model, axes, pixels).items()}


def test_every_channel_has_the_mean_of_the_source(
    graph: ModelProto, quantised: ModelProto, calibration: Calibration
) -> None:
    before = quantised.SerializeToString()
    corrected, layers = correct_biases(quantised, graph, calibration)
    assert layers == LAYERS
    assert quantised.SerializeToString() == before
    due, was, now = (means(model, graph, calibration) for model in (graph, quantised, corrected))
    assert len(due) == LAYERS
    for name in due:
        scale = np.abs(due[name]).max()
        assert now[name] == pytest.approx(due[name], abs=2e-4 * scale), name
    assert max(np.abs(was[name] - due[name]).max() / np.abs(due[name]).max() for name in due) > 0.01


def test_means_count_every_image_once(graph: ModelProto, calibration: Calibration) -> None:
    """The last batch is smaller than the others."""
    assert len(calibration.images) % BATCH
    name = graph.graph.input[0].name
    (mean,) = channel_means(graph, {name: (0, 2, 3)}, calibration).values()
    assert mean == pytest.approx((calibration.images / 255).mean(axis=(0, 2, 3)), rel=1e-5)
