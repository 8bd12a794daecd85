from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from skinaudit.artifacts.precisions import KINDS
from skinaudit.engines.onnx_graph import found_precisions
from skinaudit.engines.onnxruntime_ import open_bytes
from skinaudit.engines.session import SessionEngine
from skinaudit.errors import InvalidInputError
from skinaudit.export.calibration import Calibration
from skinaudit.export.formats import FORMATS
from skinaudit.export.precision import PRECISIONS, check_found, to_fp16, to_int8
from skinaudit.export.to_onnx import clean, serialise

WHERE = "e.onnx"


def build(graph: ModelProto, precision: str, calibration: Calibration) -> bytes:
    converted = PRECISIONS[precision].convert(copy.deepcopy(graph), calibration, where=WHERE)
    return serialise(clean(copy.deepcopy(converted.model)), metadata={"precision": precision})


def engine(graph: ModelProto, precision: str, calibration: Calibration) -> SessionEngine:
    content = build(graph, precision, calibration)
    as_graph = "onnx" not in PRECISIONS[precision].formats
    return SessionEngine(open_bytes(content, where=precision, threads=1, as_graph=as_graph), where=precision)


def scale_weights(graph: ModelProto, pick: int, value: float) -> ModelProto:
    changed = copy.deepcopy(graph)
    matrices = [tensor for tensor in changed.graph.initializer if len(tensor.dims) >= 2 and "weight" in tensor.name]
    tensor = matrices[pick]
    array = numpy_helper.to_array(tensor).copy()
    array.flat[0] = value
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return changed


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_weighted_layer_is_found_in_the_precision_asked_for(
    graph: ModelProto, calibration: Calibration, precision: str
) -> None:
    precisions = engine(graph, precision, calibration).description.found
    assert precisions == {PRECISIONS[precision].name: 4}
    check_found(precisions, asked=PRECISIONS[precision].name, source=graph, where=WHERE)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_graph_gives_the_same_bytes(graph: ModelProto, calibration: Calibration, precision: str) -> None:
    before = graph.SerializeToString(deterministic=True)
    assert build(graph, precision, calibration) == build(graph, precision, calibration)
    assert graph.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(("precision", "share"), [("fp32", 1e-6), ("fp16", 5e-3), ("int8-u8s8", 0.1), ("fp8", 0.1)])
def test_logits_stay_near_those_of_fp32(graph: ModelProto, calibration: Calibration, precision: str, share: float) -> None:
    expected = engine(graph, "fp32", calibration).logits(calibration.images)
    difference = engine(graph, precision, calibration).logits(calibration.images) - expected
    assert np.abs(difference).max() <= share * np.abs(expected).max()
    assert precision == "fp32" or difference.any()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_image_and_logits_stay_float32(graph: ModelProto, calibration: Calibration, precision: str) -> None:
    model = PRECISIONS[precision].convert(graph, calibration, where=WHERE).model
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["image", "logits"]


def test_fp16_halves_the_weights_and_casts_twice(graph: ModelProto, calibration: Calibration) -> None:
    converted = to_fp16(graph, calibration, where=WHERE)
    kinds = Counter(tensor.data_type for tensor in converted.model.graph.initializer)
    assert kinds[TensorProto.FLOAT] == 2  # mean and deviation of the normalisation, which stays fp32
    assert kinds[TensorProto.FLOAT16] >= 8
    nodes = [node.op_type for node in converted.model.graph.node]
    assert nodes.count("Cast") == 2
    assert nodes.index("Cast") == nodes.index("Conv") - 1
    assert 0 < converted.settings["largest_activation"] < 65504


def test_fp16_counts_weights_that_become_zero(graph: ModelProto, calibration: Calibration) -> None:
    before = to_fp16(graph, calibration, where=WHERE).settings["weights_rounded_to_zero"]
    after = to_fp16(scale_weights(graph, 0, 1e-9), calibration, where=WHERE).settings["weights_rounded_to_zero"]
    assert after == before + 1


def test_fp16_refuses_a_weight_that_overflows(graph: ModelProto, calibration: Calibration) -> None:
    with pytest.raises(InvalidInputError, match=r"e\.onnx: 1 weights exceed 65504"):
        to_fp16(scale_weights(graph, -1, 7e4), Calibration(np.zeros_like(calibration.images), "d"), where=WHERE)


def test_fp16_refuses_activations_that_overflow_although_all_weights_fit(
    graph: ModelProto, calibration: Calibration
) -> None:
    changed = copy.deepcopy(graph)
    for tensor in changed.graph.initializer:
        if len(tensor.dims) == 4 and "weight" in tensor.name:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(3000), tensor.name))
    with pytest.raises(InvalidInputError, match=r"e\.onnx: activations reach .*, but the largest fp16 value is 65504"):
        to_fp16(changed, calibration, where=WHERE)


def test_int8_computes_in_integers_and_says_how(graph: ModelProto, calibration: Calibration) -> None:
    converted = to_int8(graph, calibration, where=WHERE)
    assert converted.settings["calibration_images"] == len(calibration.images)
    content = serialise(clean(converted.model), metadata={})
    assert open_bytes(content, where="e", threads=1).description.executed == {"int8": 4}
    kernels = {tensor.name: tensor.data_type for tensor in converted.model.graph.initializer if len(tensor.dims) == 4}
    assert set(kernels.values()) == {TensorProto.INT8}
    zeros = [tensor for tensor in converted.model.graph.initializer if tensor.data_type == TensorProto.UINT8]
    assert zeros
    assert any(numpy_helper.to_array(tensor).any() for tensor in zeros)


def largest_scale(model: ModelProto) -> float:
    """The largest scale of an activation: scales of activations are scalars."""
    activations = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    scales = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name in activations]
    return max(float(scale) for scale in scales)


def test_int8_ranges_come_from_the_calibration_images(graph: ModelProto, calibration: Calibration) -> None:
    grey: NDArray[np.uint8] = np.full_like(calibration.images, 128)
    narrow = to_int8(graph, Calibration(grey, "d"), where=WHERE).model
    wide = to_int8(graph, calibration, where=WHERE).model
    assert largest_scale(narrow) < largest_scale(wide)


def test_int8_logits_are_not_quantised(graph: ModelProto, calibration: Calibration) -> None:
    last = to_int8(graph, calibration, where=WHERE).model.graph.node
    assert [node.op_type for node in last if "logits" in node.output] == ["Gemm"]


def test_int8_is_quiet_and_leaves_logging_alone(
    graph: ModelProto, calibration: Calibration, capfd: pytest.CaptureFixture[str]
) -> None:
    to_int8(graph, calibration, where=WHERE)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("asked", "actual"), [("fp16", "fp32"), ("int8", "fp32"), ("fp32", "int8-u8s8"), ("int8", "fp16")])
def test_a_file_in_another_precision_than_asked_is_caught(
    graph: ModelProto, calibration: Calibration, asked: str, actual: str
) -> None:
    precisions = found_precisions(PRECISIONS[actual].convert(graph, calibration, where=WHERE).model)
    with pytest.raises(
        InvalidInputError, match=rf"e\.onnx: asked for {asked} in 4 layers and found 4 {PRECISIONS[actual].name}"
    ):
        check_found(precisions, asked=asked, source=graph, where=WHERE)


def test_one_layer_left_in_float_is_caught(graph: ModelProto) -> None:
    with pytest.raises(InvalidInputError, match="asked for int8 in 4 layers and found 1 fp32, 3 int8"):
        check_found({"fp32": 1, "int8": 3}, asked="int8", source=graph, where=WHERE)


def loud_model() -> ModelProto:
    """Classes by the means of red, green and blue; a fourth channel shouts (200) where a pixel is nearly white in red."""
    mix = np.zeros((4, 3, 1, 1), np.float32)
    mix[(0, 1, 2), (0, 1, 2)], mix[3, 0] = 1, 4000
    matrix = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32) - np.float32(0.2)
    matrix[:, 3] = 0
    constants = {"mix": mix, "bias": np.array([0, 0, 0, -3800], np.float32), "matrix": matrix}
    nodes = [
        helper.make_node("Conv", ["image", "mix", "bias"], ["mixed"], name="mix"),
        helper.make_node("Relu", ["mixed"], ["heard"], name="hear"),
        helper.make_node("GlobalAveragePool", ["heard"], ["means"], name="mean"),
        helper.make_node("Flatten", ["means"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "matrix"], ["logits"], transB=1, name="classify"),
    ]
    graph = helper.make_graph(
        nodes, "loud",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 7])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_an_image_that_stretches_the_ranges_is_left_out_of_them(
    calibration: Calibration, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of a range of 200 the other channels would use two steps of 255; without the loud pixel the plain range stays."""
    images = np.minimum(calibration.images, 235)
    quiet = to_int8(loud_model(), Calibration(images, "sha256:0"), where=WHERE)
    assert quiet.settings["calibration"] == "minmax"
    assert list(quiet.settings["calibration_agreement"]) == ["minmax"]
    assert quiet.settings["calibration_images"] == len(images)
    images[7, :, 0, 0] = 255
    loud = to_int8(loud_model(), Calibration(images, "sha256:0"), where=WHERE)
    reached = loud.settings["calibration_agreement"]
    assert loud.settings["calibration"] == "minmax without outliers"
    assert loud.settings["calibration_images"] == len(images) - 1
    assert reached["minmax"] < 0.9
    assert reached["minmax without outliers"] > 0.95
    assert capfd.readouterr().out == ""


def test_values_that_many_images_stretch_are_clipped(calibration: Calibration, capfd: pytest.CaptureFixture[str]) -> None:
    """One loud pixel in each of three images: leaving out one image helps nothing."""
    images = np.minimum(calibration.images, 235)
    images[[7, 8, 9], :, 0, 0] = 255
    loud = to_int8(loud_model(), Calibration(images, "sha256:0"), where=WHERE)
    reached = loud.settings["calibration_agreement"]
    assert loud.settings["calibration"].startswith("percentile 99.995")
    assert reached["minmax without outliers"] < 0.9
    assert max(reached.values()) > 0.95
    assert loud.settings["calibration_images"] == len(images)
    assert capfd.readouterr().out == ""


def test_the_two_tables_of_precisions_hold_the_same_ones() -> None:
    assert {precision.name for precision in PRECISIONS.values()} == set(KINDS)
    assert {precision for form in FORMATS.values() for precision in form.graphs} == set(KINDS)


def test_a_format_starts_from_one_graph_a_precision() -> None:
    for name, form in FORMATS.items():
        starting = [precision.name for precision in PRECISIONS.values() if name in precision.formats]
        assert len(starting) == len(set(starting))
        assert set(form.graphs.values()) <= set(PRECISIONS)
    assert FORMATS["onnx"].graphs["int8"] == "int8-u8s8"
    assert FORMATS["tensorrt"].graphs["int8"] == FORMATS["tensorrt-rtx"].graphs["int8"] == "int8-s8s8"
    assert all(name in FORMATS for precision in PRECISIONS.values() for name in precision.formats)
