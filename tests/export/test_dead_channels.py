"""Channels that are 0 for every image: found, and cleared without a change of any answer."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

pytest.importorskip("onnxruntime")

from skinaudit.engines.onnxruntime_ import open_bytes
from skinaudit.engines.session import SessionEngine
from skinaudit.export.calibration import Calibration
from skinaudit.export.dead_channels import without_dead_channels


def logits(graph: ModelProto, calibration: Calibration) -> np.ndarray:
    return SessionEngine(open_bytes(graph.SerializeToString(), where="e", threads=1), where="e").logits(calibration.images)


def with_a_channel(graph: ModelProto, *, own: float, bias: float) -> tuple[ModelProto, str]:
    """Channel 2 of the first convolution with these weights and this bias, its weights in the depthwise one at 1000; and
    the name of those weights. Shared fixtures stay as they are."""
    changed = copy.deepcopy(graph)
    values = {tensor.name: tensor for tensor in changed.graph.initializer}
    first, second = [node for node in changed.graph.node if node.op_type == "Conv"][:2]
    for name, value in ((first.input[1], own), (first.input[2], bias), (second.input[1], 1000.0)):
        array = numpy_helper.to_array(values[name]).copy()
        array[2] = value
        values[name].CopyFrom(numpy_helper.from_array(array, name))
    return changed, second.input[1]


def weights(graph: ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(tensor for tensor in graph.graph.initializer if tensor.name == name))


@pytest.mark.parametrize("bias", [-0.5, 0.0])
def test_a_dead_channel_is_cleared_and_no_answer_changes(graph: ModelProto, calibration: Calibration, bias: float) -> None:
    dying, name = with_a_channel(graph, own=0.0, bias=bias)
    before = dying.SerializeToString()
    cleared, count = without_dead_channels(dying)
    assert count == 1
    assert not weights(cleared, name)[2].any()
    assert np.array_equal(np.delete(weights(cleared, name), 2, 0), np.delete(weights(dying, name), 2, 0))
    assert np.array_equal(logits(cleared, calibration), logits(dying, calibration))
    assert dying.SerializeToString() == before


@pytest.mark.parametrize(("own", "bias"), [(0.0, 0.5), (1e-6, -0.5)])
def test_a_channel_that_may_wake_up_is_left_alone(graph: ModelProto, own: float, bias: float) -> None:
    living, name = with_a_channel(graph, own=own, bias=bias)
    cleared, count = without_dead_channels(living)
    assert count == 0
    assert np.array_equal(weights(cleared, name), weights(living, name))
