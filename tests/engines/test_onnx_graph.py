from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from skinaudit.engines.onnx_graph import conditional_operators, found_precisions, load, metadata
from skinaudit.errors import EngineError, InvalidInputError

FLOAT, HALF, S8, U8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8


def graph_of(nodes: list[NodeProto], *constants: tuple[str, np.ndarray], image: int = FLOAT) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", image, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("out", FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def kernel(dtype: type) -> tuple[str, np.ndarray]:
    return "kernel", np.ones((4, 3, 3, 3), dtype)


def quantise(name: str, zero: str) -> list[NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [name, "scale", zero], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", "scale", zero], [f"{name}_dq"]),
    ]


SCALE = ("scale", np.float32(0.1))
ZERO = ("zero", np.uint8(128))
KERNEL_DQ = helper.make_node("DequantizeLinear", ["kernel", "scale"], ["kernel_dq"])


def test_a_file_is_what_its_weights_are(write_model: Callable[..., Path]) -> None:
    assert found_precisions(load(write_model())) == {"fp32": 2}
    assert found_precisions(load(write_model(dtype=HALF))) == {"fp16": 2}


def test_metadata_is_read(write_model: Callable[..., Path]) -> None:
    assert metadata(load(write_model())) == {"skinaudit.run": "small"}


def test_weights_stored_as_fp16_and_cast_up_compute_in_fp32() -> None:
    nodes = [
        helper.make_node("Cast", ["kernel"], ["wide"], to=FLOAT),
        helper.make_node("Conv", ["image", "wide"], ["out"]),
    ]
    assert found_precisions(graph_of(nodes, kernel(np.float16))) == {"fp32": 1}


def test_both_inputs_from_8_bit_are_int8() -> None:
    nodes = [*quantise("image", "zero"), KERNEL_DQ, helper.make_node("Conv", ["image_dq", "kernel_dq"], ["out"])]
    assert found_precisions(graph_of(nodes, kernel(np.int8), SCALE, ZERO)) == {"int8": 1}


def test_weights_alone_in_8_bit_are_not_int8() -> None:
    nodes = [KERNEL_DQ, helper.make_node("Conv", ["image", "kernel_dq"], ["out"])]
    assert found_precisions(graph_of(nodes, kernel(np.int8), SCALE)) == {"fp32": 1}


def test_16_bit_activations_are_not_int8() -> None:
    nodes = [*quantise("image", "zero"), KERNEL_DQ, helper.make_node("Conv", ["image_dq", "kernel_dq"], ["out"])]
    model = graph_of(nodes, kernel(np.int8), SCALE, ("zero", np.uint16(9)))
    model.opset_import[0].version = 21
    assert found_precisions(model) == {"fp32": 1}


@pytest.mark.parametrize(("activation", "weights"), [("uint8", "int8"), ("int8", "int8")])
def test_integer_operators_are_int8(activation: str, weights: str) -> None:
    image = {"uint8": U8, "int8": S8}[activation]
    nodes = [
        helper.make_node("ConvInteger", ["image", "kernel"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["out"], to=FLOAT),
    ]
    assert found_precisions(graph_of(nodes, kernel(np.dtype(weights).type), image=image)) == {"int8": 1}


def test_mixed_precisions_are_counted_apart() -> None:
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["a"]),
        helper.make_node("Cast", ["a"], ["b"], to=HALF),
        helper.make_node("Conv", ["b", "half"], ["c"]),
        helper.make_node("Conv", ["c", "half2"], ["d"]),
        helper.make_node("Cast", ["d"], ["out"], to=FLOAT),
    ]
    half = np.ones((4, 4, 1, 1), np.float16)
    model = graph_of(nodes, kernel(np.float32), ("half", half), ("half2", half))
    assert found_precisions(model) == {"fp16": 2, "fp32": 1}


def test_a_product_of_two_computed_tensors_is_no_weighted_layer() -> None:
    nodes = [helper.make_node("MatMul", ["image", "image"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["out"])]
    assert found_precisions(graph_of(nodes, ("w", np.ones((8, 8), np.float32)))) == {"fp32": 1}


def test_weights_that_are_computed_are_found_by_inference() -> None:
    nodes = [
        helper.make_node("Add", ["kernel", "kernel"], ["twice"]),
        helper.make_node("Conv", ["image", "twice"], ["out"]),
    ]
    assert found_precisions(graph_of(nodes, kernel(np.float32))) == {"fp32": 1}


def test_layers_inside_a_branch_are_counted() -> None:
    def branch(name: str) -> onnx.GraphProto:
        node = helper.make_node("Conv", ["image", "kernel"], [name])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, FLOAT, None)])

    choose = helper.make_node("If", ["which"], ["out"], then_branch=branch("yes"), else_branch=branch("no"))
    assert found_precisions(graph_of([choose], kernel(np.float32), ("which", np.bool_(True)))) == {"fp32": 2}


def test_layers_inside_a_function_are_counted() -> None:
    body = helper.make_function(
        "local", "Layer", ["x", "w"], ["y"], [helper.make_node("Conv", ["x", "w"], ["y"])], [helper.make_opsetid("", 20)]
    )
    model = graph_of([helper.make_node("Layer", ["image", "kernel"], ["out"], domain="local")], kernel(np.float32))
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.append(body)
    assert found_precisions(model) == {"fp32": 1}


def test_a_file_without_a_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.onnx"
    path.write_bytes(b"")
    with pytest.raises(EngineError, match=r"e\.onnx: truncated or not an ONNX file \(it has no graph\)"):
        load(path)
    with pytest.raises(InvalidInputError, match="is a folder, not a regular file"):
        load(tmp_path)


def test_conditions_are_found_wherever_they_hide() -> None:
    inner = helper.make_graph([helper.make_node("Greater", ["a", "b"], ["c"])], "inner", [], [])
    branch = helper.make_node("Loop", ["m", "n"], ["o"], body=inner)
    function = helper.make_function("own", "F", ["x"], ["y"], [helper.make_node("Sign", ["x"], ["y"])], [])
    plain = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "plain", [], [])
    nested = helper.make_graph([branch], "nested", [], [])
    assert conditional_operators(helper.make_model(plain)) == {}
    assert conditional_operators(helper.make_model(nested, functions=[function])) == {"Loop": 1, "Greater": 1, "Sign": 1}
    twice = helper.make_graph([branch, branch], "twice", [], [])
    assert conditional_operators(helper.make_model(twice)) == {"Loop": 2, "Greater": 2}


def test_a_graph_of_more_nodes_than_any_classifier_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skinaudit.engines.onnx_graph._MOST_NODES", 3)
    path, relu = tmp_path / "a.onnx", helper.make_node("Relu", ["image"], ["out"])
    onnx.save_model(graph_of([relu] * 3), str(path))
    assert len(load(path).graph.node) == 3
    onnx.save_model(graph_of([relu] * 4), str(path))
    with pytest.raises(EngineError, match=r"a\.onnx: has 4 nodes, at most 3 are read; it is not a classifier"):
        load(path)
    branch = helper.make_graph([relu] * 3, "branch", [], [])
    onnx.save_model(graph_of([helper.make_node("If", ["truth"], ["out"], then_branch=branch)]), str(path))
    with pytest.raises(EngineError, match=r"a\.onnx: its branches hold nodes more than 3 times"):
        load(path)
