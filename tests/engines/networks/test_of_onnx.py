"""ONNX graphs in whole numbers, static and dynamic, as ONNX Runtime's tools and its optimiser write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from skinaudit.audit.evidence.matching import Allowed, DiffersError, Matcher
from skinaudit.engines.networks import layers
from skinaudit.engines.networks.layers import Layer, constant, layers_of
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


def plain(expected: ModelProto, converted: ModelProto) -> bool:
    with np.errstate(all="ignore"):
        return Matcher(Allowed(("rounding",))).match(network_of_model(expected), network_of_model(converted)).plain


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
    codes = [tensor for tensor in converted.graph.initializer if len(tensor.dims) == 4 and tensor.data_type in (2, 3)]
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
    assert [
        layer for layer in layers_of(network_of_model(converted)) if "QLinearConv" in layer.origin and layer.kind == "other"
    ]


def test_sums_that_are_scaled_by_another_layers_range_are_no_layer(tmp_path: Path) -> None:
    converted = dynamic(classifier(), tmp_path)
    scales = [node for node in converted.graph.node if node.op_type == "Mul" and node.name.endswith("scale_mul")]
    scales[1].input[0] = scales[0].input[0]
    assert [layer for layer in layers_of(network_of_model(converted)) if layer.settings == ("sums",)]


def test_channels_that_are_scaled_and_scaled_back_are_explained_in_whole_numbers(tmp_path: Path) -> None:
    assert plain(classifier(blocks=6), in_pairs(classifier(blocks=6, factors=True), tmp_path))


def test_another_bias_is_named_behind_channels_that_were_scaled(tmp_path: Path) -> None:
    """A factor that is estimated from the bias must not excuse it."""
    pushed = classifier(blocks=6, factors=True)
    bias = next(tensor for tensor in pushed.graph.initializer if tensor.name == "b")
    change(bias, lambda value: value + np.float32(0.5) * (np.arange(7) == 6))
    with pytest.raises(DiffersError, match="1 of its 7 channels"):
        plain(classifier(blocks=6), in_pairs(pushed, tmp_path))


def test_fp16_weights_that_an_optimiser_stored_in_fp32_are_roundings_where_fp16_was_asked_for() -> None:
    model, rounded = classifier(), classifier()
    for tensor in rounded.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            change(tensor, lambda value: value.astype(np.float16).astype(np.float32))
    expected, stored = network_of_model(model), network_of_model(rounded)
    assert Matcher(Allowed(half=True)).match(expected, stored).plain
    with pytest.raises(DiffersError, match="other weights"):
        Matcher(Allowed()).match(expected, stored)


def test_a_bias_that_is_added_behind_a_rounding_is_that_of_the_layer() -> None:
    """What a quantiser makes of a bias in a node of its own: the sums are rounded before it is added."""
    weight, bias = constant(np.random.default_rng(0).normal(size=(7, 4))), np.linspace(-1, 1, 7)
    flat = layers.flatten(layers.image(4, 1), origin="flatten")
    plain_sums = layers.dense(flat, weight, None, origin="product")
    expected = layers.dense(flat, weight, constant(bias), origin="linear")
    for settings, fits in (((-12.8, 12.7, 0.1), True), ((0.0, 25.5, 0.1), False)):
        rounded = Layer("rounding", (plain_sums,), (7,), "codes", settings)
        biased = layers.arithmetic(rounded, "add", constant(bias), origin="Add")
        assert biased is not None
        assert (biased.kind == "rounding") == fits
        if fits:
            assert biased.settings[0] <= -13.8
            assert biased.settings[1] >= 13.7
            assert Matcher(Allowed(("rounding",))).match(expected, biased).plain
        else:
            with pytest.raises(DiffersError):
                Matcher(Allowed(("rounding",))).match(expected, biased)


def node_of(model: ModelProto, operator: str) -> NodeProto:
    return next(node for node in model.graph.node if node.op_type == operator)


def in_another_domain(model: ModelProto) -> None:
    node_of(model, "Relu").domain = "of.another"


def in_another_layout(model: ModelProto) -> None:
    node_of(model, "Conv").domain = "com.ms.internal.nhwc"


def padded_and_valid(model: ModelProto) -> None:
    node_of(model, "Conv").attribute.append(helper.make_attribute("auto_pad", "VALID"))


def channels_last(model: ModelProto) -> None:
    place = next(index for index, node in enumerate(model.graph.node) if node.op_type == "Relu")
    relu = model.graph.node[place]
    result, relu.output[0] = relu.output[0], "before"
    reorder = helper.make_node(
        "ReorderOutput", ["before"], [result], domain="com.microsoft.nchwc", channels_last=1, channels=4
    )
    model.graph.node.insert(place + 1, reorder)


@pytest.mark.parametrize("edit", [in_another_domain, in_another_layout, padded_and_valid, channels_last])
def test_what_only_looks_like_an_operator_is_no_layer(edit: Callable[[ModelProto], None]) -> None:
    model = classifier()
    edit(model)
    with pytest.raises(DiffersError):
        Matcher(Allowed()).match(network_of_model(classifier()), network_of_model(model))


def later(model: ModelProto) -> None:
    """A bound that is computed behind the node that uses it, as runtimes allow and the standard does not."""
    clipped(model)
    model.graph.node.append(helper.make_node("ReduceMax", ["image"], ["bound"], keepdims=0))


def sparse(model: ModelProto) -> None:
    clipped(model)
    value, place = np.array([0.3], np.float32), np.array([0])
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(numpy_helper.from_array(value, "bound"), numpy_helper.from_array(place), [1])
    )


def second_result(model: ModelProto) -> None:
    """Dropout in training mode, which a second result of another Dropout switches on."""
    for name, number in (("one", 1.0), ("ratio", 0.3)):
        model.graph.initializer.append(numpy_helper.from_array(np.float32(number), name))
    place = next(index for index, node in enumerate(model.graph.node) if node.op_type == "Relu")
    relu = model.graph.node[place]
    result, relu.output[0] = relu.output[0], "before"
    model.graph.node.insert(place + 1, helper.make_node("Dropout", ["before", "ratio", "training"], [result]))
    model.graph.node.insert(place, helper.make_node("Dropout", ["one"], ["same", "training"]))


def first_of_two(model: ModelProto) -> None:
    """Weights that stand in the file twice; ONNX Runtime takes the first ones."""
    halved = numpy_helper.from_array(numpy_helper.to_array(model.graph.initializer[1]) / 2, "w0")
    model.graph.initializer.insert(0, halved)


def node_and_initialiser(model: ModelProto) -> None:
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w0")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w0"], value=weight))
    change(weight, lambda value: value / 2)


def one_setting_twice(model: ModelProto) -> None:
    """Weights in a Constant node, halved ones first; ONNX Runtime takes these."""
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w0")
    halved = numpy_helper.from_array(numpy_helper.to_array(weight) / 2, "w0")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w0"], name="twice"))
    model.graph.node[0].attribute.extend([helper.make_attribute("value", value) for value in (halved, weight)])
    model.graph.initializer.remove(weight)


def function_of_a_standard_name(model: ModelProto) -> None:
    """By its function the node is a Relu; ONNX Runtime computes its own Softplus."""
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "Softplus"
    body = [helper.make_node("Relu", ["x"], ["y"])]
    model.functions.append(helper.make_function("", "Softplus", ["x"], ["y"], body, [helper.make_opsetid("", 20)]))


def second_answer(model: ModelProto) -> None:
    port = helper.make_tensor_value_info("more", TensorProto.FLOAT, ["batch", 7])
    model.graph.node.append(helper.make_node("Neg", ["logits"], ["more"]))
    model.graph.output.append(port)


def clipped(model: ModelProto) -> None:
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "Clip"
    relu.input.extend(["zero", "bound"])
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "zero"))


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (later, "bound, which is defined later"), (sparse, "bound, which is defined later or not"),
        (second_result, "(Dropout)"), (first_of_two, "w0, which the file defines twice"),
        (one_setting_twice, "twice, which has one setting twice"),
        (node_and_initialiser, "w0, which the file defines twice"),
        (function_of_a_standard_name, "of the runtime's own operator Softplus"), (second_answer, "one of 2 outputs"),
    ],
)  # fmt: skip
def test_what_a_runtime_may_read_in_another_way_explains_nothing(edit: Callable[[ModelProto], None], named: str) -> None:
    model = classifier()
    edit(model)
    network = network_of_model(model)
    assert any(named in layer.origin for layer in layers_of(network) if layer.kind == "other")
    with pytest.raises(DiffersError):
        Matcher(Allowed()).match(network_of_model(classifier()), network)
