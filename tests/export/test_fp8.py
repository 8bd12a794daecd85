"""fp8: what the grid of E4M3 promises, that ONNX Runtime emulates the graph as it stands, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")

from skinaudit.engines.onnx_graph import found_precisions  # noqa: E402
from skinaudit.engines.onnxruntime_ import open_bytes  # noqa: E402
from skinaudit.errors import InvalidInputError  # noqa: E402
from skinaudit.export.calibration import Calibration  # noqa: E402
from skinaudit.export.formats import FORMATS, default_formats  # noqa: E402
from skinaudit.export.fp8 import KIND, LARGEST, best_scales, to_e4m3  # noqa: E402


def converted(graph: ModelProto, calibration: Calibration) -> ModelProto:
    return to_e4m3(graph, calibration, where="e")[0]


def constants(model: ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_weights_are_rounded_to_three_bits_at_most(graph: ModelProto, calibration: Calibration) -> None:
    """Each is off by at most 1/16 of itself, or of the smallest normal number, and none saturates."""
    before, after = constants(graph), constants(converted(graph, calibration))
    quantised = [name.removesuffix("_fp8") for name, value in after.items() if name.endswith("_fp8") and value.ndim > 1]
    assert len(quantised) == 4
    for name in quantised:
        weights = before[name]
        scale = after[f"{name}_fp8_scale"].reshape(-1, *[1] * (weights.ndim - 1))
        restored = after[f"{name}_fp8"].astype(np.float32) * scale
        assert (np.abs(restored - weights) <= np.maximum(np.abs(weights), 2.0**-6 * scale) / 16 + 1e-7).all()
        assert (np.abs(weights / scale) <= LARGEST * 1.0001).all()
        assert name not in after  # no second copy in float


@given(weights=arrays(np.float32, (3, 2, 3, 3), elements=st.floats(-100, 100, width=32)))
def test_the_scale_of_a_channel_is_no_worse_than_the_plain_one(weights: NDArray[np.float32]) -> None:
    def error(scale: NDArray[np.float32]) -> NDArray[np.float32]:
        side = scale.reshape(-1, 1, 1, 1)
        grid = np.clip(weights / side, -LARGEST, LARGEST).astype(helper.tensor_dtype_to_np_dtype(KIND))
        return np.square(grid.astype(np.float32) * side - weights).sum(axis=(1, 2, 3))

    best = best_scales(weights, axis=0)
    plain = np.maximum(np.abs(weights).max(axis=(1, 2, 3)) / LARGEST, 2.0**-20).astype(np.float32)
    assert (error(best) <= error(plain)).all()
    assert ((best >= plain) & (best < 2 * plain)).all()
    np.testing.assert_array_equal(best_scales(weights.transpose(1, 0, 2, 3), axis=1), best)


def test_an_activation_has_one_scale_from_its_largest_value(graph: ModelProto, calibration: Calibration) -> None:
    def scales(images: NDArray[np.uint8]) -> list[float]:
        model = converted(graph, Calibration(images, "d"))
        values = constants(model)
        nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
        assert all(values[node.input[2]].dtype == helper.tensor_dtype_to_np_dtype(KIND) for node in nodes)
        return [float(values[node.input[1]]) for node in nodes]

    usual = scales(calibration.images)
    assert len(usual) == 4
    first = (calibration.images.astype(np.float32) / 255 - 0.5) / 0.25  # the first layer's input, normalised
    assert usual[0] == pytest.approx(np.abs(first).max() / LARGEST, rel=1e-6)
    assert all(narrow < wide for narrow, wide in zip(scales(np.full_like(calibration.images, 128)), usual, strict=True))


def test_the_emulation_computes_what_the_graph_says(graph: ModelProto, calibration: Calibration) -> None:
    """ONNX Runtime's own rewritings drop a ReLU before fp8; without any rewriting it is slow and right."""
    content = converted(graph, calibration).SerializeToString()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    images = calibration.images.astype(np.float32) / np.float32(255)
    session = open_bytes(content, where="e", threads=1, as_graph=True)
    logits = session.run(images, input="image", output="logits")
    np.testing.assert_allclose(logits, plain.run(None, {"image": images})[0], rtol=0.05, atol=0.05)
    description = session.description
    assert (description.found, description.executed) == ({"fp8": 4}, {"fp32": 4})
    assert description.settings["emulation"] == "rounded to fp8 before layers, computed in fp32"


def small(nodes: list[Any], **weights: NDArray[np.float32]) -> ModelProto:
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_values_on_the_grid_are_computed_exactly_relu_included(calibration: Calibration) -> None:
    """A convolution by -1, 0 and 1, and images of 0 and 255: nothing rounds, so any difference would be a lost ReLU."""
    mix = np.array([[1, -1, 0], [-1, 1, 0], [0, 0, -1]], np.float32).reshape(3, 3, 1, 1)
    model = small(
        [
            helper.make_node("Conv", ["image", "first"], ["signed"], name="first"),
            helper.make_node("Relu", ["signed"], ["positive"], name="relu"),
            helper.make_node("Conv", ["positive", "second"], ["logits"], name="second"),
        ],
        first=mix, second=mix,
    )  # fmt: skip
    images = np.where(calibration.images > 127, 255, 0).astype(np.uint8)
    content = converted(model, Calibration(images, "d")).SerializeToString()
    pixels = images.astype(np.float32) / np.float32(255)
    logits = open_bytes(content, where="e", threads=1, as_graph=True).run(pixels, input="image", output="logits")
    kernel = mix[:, :, 0, 0]
    hidden = np.maximum(np.einsum("oc,nchw->nohw", kernel, pixels), 0)
    assert (hidden > 0).any()
    np.testing.assert_allclose(logits, np.einsum("oc,nchw->nohw", kernel, hidden), atol=1e-6)


def test_a_layer_that_is_silent_on_the_calibration_images_stays_finite(graph: ModelProto, calibration: Calibration) -> None:
    dead = copy.deepcopy(graph)
    for tensor in dead.graph.initializer:
        if len(tensor.dims) == 4:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), tensor.name))
    content = converted(dead, calibration).SerializeToString()
    images = calibration.images.astype(np.float32) / np.float32(255)
    answer = open_bytes(content, where="e", threads=1, as_graph=True).run(images, input="image", output="logits")
    assert np.isfinite(answer).all()


def test_weights_that_are_computed_are_refused(calibration: Calibration) -> None:
    model = small(
        [
            helper.make_node("Mul", ["weights", "weights"], ["squared"], name="square"),
            helper.make_node("Conv", ["image", "squared"], ["logits"], name="convolve"),
        ],
        weights=np.ones((4, 3, 1, 1), np.float32),
    )
    with pytest.raises(InvalidInputError, match="e: the weights of convolve are not constant; export it as fp16"):
        converted(model, calibration)


def test_weights_alone_in_fp8_are_no_fp8_layer(graph: ModelProto, calibration: Calibration) -> None:
    model = converted(graph, calibration)
    layer = next(node for node in model.graph.node if node.op_type == "Conv")
    layer.input[0] = layer.input[0].removesuffix("_fp8_dequantised")
    assert found_precisions(model) == {"fp8": 3, "fp32": 1}


def test_activations_alone_in_fp8_are_emulated_too(graph: ModelProto, calibration: Calibration) -> None:
    model = converted(graph, calibration)
    for layer in (node for node in model.graph.node if node.op_type in ("Conv", "Gemm")):
        layer.input[1] = layer.input[1].removesuffix("_fp8_dequantised")
    model.graph.initializer.extend(tensor for tensor in graph.graph.initializer if tensor.name in layers_weights(graph))
    session = open_bytes(model.SerializeToString(), where="e", threads=1, as_graph=True)
    assert session.description.found == {"fp32": 4}
    assert "rounded to fp8" in session.description.settings["emulation"]


def layers_weights(graph: ModelProto) -> set[str]:
    return {node.input[1] for node in graph.graph.node if node.op_type in ("Conv", "Gemm")}


def test_the_usual_formats_are_those_that_have_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(*names: str) -> None:
        monkeypatch.setattr("skinaudit.export.formats.find_spec", lambda name: name if name in names else None)

    installed("tensorrt_rtx")
    assert [default_formats(name) for name in ("int8", "fp8")] == [("onnx", "tensorrt-rtx"), ("tensorrt-rtx",)]
    installed()
    assert default_formats("fp16") == ("onnx",)
    with pytest.raises(InvalidInputError, match=r"fp8: has no default format .* --format: tensorrt, tensorrt-rtx$"):
        default_formats("fp8")
    assert "fp8" not in FORMATS["onnx"].graphs
