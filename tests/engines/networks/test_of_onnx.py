"""ONNX graphs in whole numbers, static and dynamic, as ONNX Runtime's tools and its optimiser write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from skinaudit.audit.evidence.matching import Allowed, DiffersError, Matcher
from skinaudit.engines.networks.layers import layers_of
from skinaudit.engines.networks.of_onnx import network_of_model
from skinaudit.tests.faults.surgery import change

ort = pytest.importorskip("onnxruntime")
quantization = pytest.importorskip("onnxruntime.quantization")

SIZE, WIDE = 8, 16
Numbers = NDArray[np.float32]


def classifier(*, blocks: int = 1, factors: bool = False) -> ModelProto:
    """A convolution, blocks of a depthwise and a pointwise one, a pool and a product. factors: every channel between two
    layers scaled, and scaled back by the next layer."""
    generator, of_factors = np.random.default_rng(0), np.random.default_rng(1)
    shapes = [(WIDE, 3, 3, 3), *[(WIDE, 1, 3, 3), (WIDE, WIDE, 1, 1)] * blocks]
    tensors: dict[str, Numbers] = {"axes": np.array([2, 3])}
    nodes, before, by = [], "image", np.ones(3)
    for number, shape in enumerate(shapes):
        weight = generator.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        after = of_factors.uniform(0.5, 2, WIDE) if factors else np.ones(WIDE)
        weight = (
            weight / (by.reshape(-1, 1, 1, 1) if shape[1] == 1 else by.reshape(1, -1, 1, 1)) * after.reshape(-1, 1, 1, 1)
        )
        tensors[f"w{number}"] = weight.astype(np.float32)
        tensors[f"b{number}"] = (after * np.random.default_rng(number).normal(size=WIDE) * 0.3).astype(np.float32)
        pads = [1] * 4 if shape[-1] == 3 else [0] * 4
        inputs = [before, f"w{number}", f"b{number}"]
        nodes.append(helper.make_node("Conv", inputs, [f"c{number}"], pads=pads, group=WIDE if shape[1] == 1 else 1))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        before, by = f"r{number}", after
    tensors["w"] = (np.random.default_rng(9).normal(size=(7, WIDE)) / by).astype(np.float32)
    tensors["b"] = np.linspace(-1, 1, 7, dtype=np.float32)
    nodes += [
        helper.make_node("ReduceMean", [before, "axes"], ["mean"], keepdims=0),
        helper.make_node("Gemm", ["mean", "w", "b"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 7])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


class Calibration(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        self._images: Iterator[Numbers] = iter(np.random.default_rng(1).random((8, 1, 3, SIZE, SIZE), np.float32))

    def get_next(self) -> dict[str, Numbers] | None:
        image = next(self._images, None)
        return None if image is None else {"image": image}


def static(model: ModelProto, folder: Path, **settings: object) -> ModelProto:
    onnx.save(model, folder / "plain.onnx")
    quantization.quantize_static(folder / "plain.onnx", folder / "static.onnx", Calibration(), per_channel=True, **settings)
    return onnx.load(folder / "static.onnx")


def in_codes(model: ModelProto, folder: Path) -> ModelProto:
    return static(model, folder, quant_format=quantization.QuantFormat.QOperator, weight_type=quantization.QuantType.QInt8)


def in_pairs(model: ModelProto, folder: Path) -> ModelProto:
    return static(model, folder, quant_format=quantization.QuantFormat.QDQ, weight_type=quantization.QuantType.QInt8)


def dynamic(model: ModelProto, folder: Path) -> ModelProto:
    onnx.save(model, folder / "plain.onnx")
    quantization.quantize_dynamic(folder / "plain.onnx", folder / "dynamic.onnx")
    return onnx.load(folder / "dynamic.onnx")


def optimised(model: ModelProto, folder: Path, level: str) -> ModelProto:
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx")


def plain(expected: ModelProto, found: ModelProto) -> bool:
    with np.errstate(all="ignore"):
        return Matcher(Allowed(("rounding",))).match(network_of_model(expected), network_of_model(found)).plain


Conversion = Callable[[ModelProto, Path], ModelProto]
CONVERSIONS = (in_codes, in_pairs, dynamic)


@pytest.mark.parametrize("convert", CONVERSIONS)
@pytest.mark.parametrize("level", ["", "BASIC", "EXTENDED", "ALL"])
def test_honest_whole_numbers_are_explained(tmp_path: Path, convert: Conversion, level: str) -> None:
    model = classifier()
    converted = convert(model, tmp_path)
    assert plain(model, optimised(converted, tmp_path, level) if level else converted)


@pytest.mark.parametrize("convert", CONVERSIONS)
def test_other_codes_are_named(tmp_path: Path, convert: Conversion) -> None:
    converted = convert(model := classifier(), tmp_path)
    codes = [one for one in converted.graph.initializer if len(one.dims) == 4 and one.data_type in (2, 3)]
    change(
        codes[-1],
        lambda value: value.reshape(-1).__setitem__(
            5, int(value.reshape(-1)[5]) - 40 * np.sign(int(value.reshape(-1)[5]) - 1)
        ),
    )
    with pytest.raises(DiffersError, match="1 of its 16 channels have other weights"):
        plain(model, converted)


def test_codes_that_are_read_by_another_scale_are_no_rounding(tmp_path: Path) -> None:
    converted = in_codes(classifier(), tmp_path)
    second = [node for node in converted.graph.node if node.op_type == "QLinearConv"][1]
    converted.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))
    second.input[1] = "half"
    assert [one for one in layers_of(network_of_model(converted)) if "QLinearConv" in one.origin and one.kind == "other"]


def test_sums_that_are_scaled_by_another_layers_range_are_no_layer(tmp_path: Path) -> None:
    converted = dynamic(classifier(), tmp_path)
    scales = [node for node in converted.graph.node if node.op_type == "Mul" and node.name.endswith("scale_mul")]
    scales[1].input[0] = scales[0].input[0]
    assert [one for one in layers_of(network_of_model(converted)) if one.settings == ("sums",)]


def test_channels_that_are_scaled_and_scaled_back_are_explained_in_whole_numbers(tmp_path: Path) -> None:
    assert plain(classifier(blocks=6), in_pairs(classifier(blocks=6, factors=True), tmp_path))


def test_fp16_weights_that_an_optimiser_stored_in_fp32_are_roundings_where_fp16_was_asked_for() -> None:
    model, rounded = classifier(), classifier()
    for tensor in rounded.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            change(tensor, lambda value: value.astype(np.float16).astype(np.float32))
    expected, found = network_of_model(model), network_of_model(rounded)
    assert Matcher(Allowed(half=True)).match(expected, found).plain
    with pytest.raises(DiffersError, match="other weights"):
        Matcher(Allowed()).match(expected, found)
