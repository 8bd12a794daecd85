from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from skinaudit.engines.onnxruntime_ import open_bytes
from skinaudit.engines.session import SessionEngine
from skinaudit.export.calibration import Calibration, channel_peaks
from skinaudit.export.equalise import equalise
from skinaudit.export.to_onnx import to_onnx

torch = pytest.importorskip("torch")


@cache
def traced() -> bytes:
    """Ordinary, depthwise and pointwise convolutions with ReLU."""
    nn = torch.nn
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, depthwise, pointwise = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 1)
        model = nn.Sequential(
            first, nn.ReLU(), depthwise, nn.ReLU(), pointwise, nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 7),
        )  # fmt: skip
    return bytes(to_onnx(model.eval(), size=32).SerializeToString())


def chain(skew: float) -> ModelProto:
    """The traced graph, the same function, with channels of the first activation that differ by `skew`."""
    model = ModelProto.FromString(traced())
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    first, depthwise, _ = (node for node in model.graph.node if node.op_type == "Conv")
    factors = np.logspace(0, np.log10(skew), 8, dtype=np.float32)
    for name, factor in ((first.input[1], factors), (first.input[2], factors), (depthwise.input[1], 1 / factors)):
        value = numpy_helper.to_array(tensors[name])
        scaled = value * factor.reshape(-1, *[1] * (value.ndim - 1))
        tensors[name].CopyFrom(numpy_helper.from_array(scaled, name))
    return model


@pytest.fixture(scope="module")
def pixels() -> Calibration:
    return Calibration(np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32), dtype=np.uint8), "sha256:0")


def answers(model: ModelProto, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return SessionEngine(open_bytes(model.SerializeToString(), where="m", threads=1), where="m").logits(images)


def test_the_function_stays_and_the_argument_is_left_alone(pixels: Calibration) -> None:
    model = chain(1000)
    before = model.SerializeToString()
    equalised, pairs = equalise(model, pixels)
    assert pairs == 2
    assert model.SerializeToString() == before
    assert answers(equalised, pixels.images) == pytest.approx(answers(model, pixels.images), rel=1e-4, abs=1e-6)


def test_channels_in_front_of_a_depthwise_convolution_get_one_peak(pixels: Calibration) -> None:
    model = chain(100)
    relu = next(node.output[0] for node in model.graph.node if node.op_type == "Relu")
    (skewed,) = channel_peaks(model, [relu], pixels)
    (equal,) = channel_peaks(equalise(model, pixels)[0], [relu], pixels)
    assert skewed.max() > 20 * skewed.min()
    assert equal == pytest.approx(np.full(8, skewed.max()), rel=1e-3)


def test_int8_survives_skewed_channels(pixels: Calibration) -> None:
    from skinaudit.export.precision import PRECISIONS

    straight, skewed = (PRECISIONS["int8-u8s8"].convert(chain(skew), pixels, where="m") for skew in (1.0, 200.0))
    exact = answers(chain(200.0), pixels.images)
    worst = [np.abs(answers(conversion.model, pixels.images) - exact).max() for conversion in (straight, skewed)]
    assert worst[1] < 2 * worst[0]
    assert skewed.settings["equalised_pairs"] == 2


def test_a_dead_channel_and_a_shared_activation_are_left_as_they_are(pixels: Calibration) -> None:
    model = chain(1)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    bias = numpy_helper.to_array(weights[first.input[2]]).copy()
    bias[3] = -1e6
    weights[first.input[2]].CopyFrom(numpy_helper.from_array(bias, first.input[2]))
    equalised, _ = equalise(model, pixels)
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in equalised.graph.initializer}
    assert after[first.input[2]][3] == bias[3]
    assert np.isfinite(answers(equalised, pixels.images)).all()

    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    reader = next(node for node in model.graph.node if node.op_type == "Conv" and node.input[0] == relu.output[0])
    pool = next(node for node in model.graph.node if node.op_type in ("ReduceMean", "GlobalAveragePool"))
    assert equalise(model, pixels)[1] == 2
    pool.input[0] = relu.output[0]  # a second reader of the same activation: neither of its pairs may be rescaled
    assert reader.input[0] == relu.output[0]
    assert equalise(model, pixels)[1] == 1
