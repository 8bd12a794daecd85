"""What the inspectors of TensorRT 10, TensorRT 11 and TensorRT-RTX write, read."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from skinaudit.engines.plans.layer_precisions import executed_precisions

DYNAMIC = "N/A due to dynamic shapes"


def read(layers: Any) -> Any:
    text = layers if isinstance(layers, str) else json.dumps({"Layers": layers})
    inspector = SimpleNamespace(get_engine_information=lambda form: text)
    engine = SimpleNamespace(create_engine_inspector=lambda: inspector)
    return executed_precisions(SimpleNamespace(LayerInformationFormat=SimpleNamespace(JSON="json")), engine)


def convolution(tensor: dict[str, str], weights: str = "") -> dict[str, Any]:
    return {"Name": "c", "LayerType": "CaskConvolution", "ParameterType": "Convolution", "Inputs": [tensor],
            "Weights": {"Type": weights, "Count": 9}}  # fmt: skip


@pytest.mark.parametrize(
    ("tensor", "weights", "precision"),
    [
        ({"Format/Datatype": "Row major linear FP32"}, "Float", "fp32"),
        ({"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}, "Half", "fp16"),
        ({"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}, "Int8", "int8"),
        ({"Format/Datatype": "Row major linear BFloat16"}, "BFloat16", "bf16"),
        ({"Format/Datatype": DYNAMIC}, "Half", "fp16"),
        ({"Format/Datatype": DYNAMIC}, "BFloat16", "bf16"),
        ({"Format/Datatype": DYNAMIC}, "Int8", "int8"),
        ({"Format/Datatype": DYNAMIC}, "Float", "fp32"),
        ({"Format/Datatype": DYNAMIC}, "", "unknown"),
        ({"Datatype": "BFloat16", "Format": "Linear"}, "", "bf16"),
        ({"Datatype": "Half", "Format": DYNAMIC}, "", "fp16"),
        ({"Datatype": "FP8", "Format": "Linear"}, "", "fp8"),
        ({"Datatype": "Float", "Format": "Linear"}, "Half", "fp32"),
    ],
)
def test_one_layer(tensor: dict[str, str], weights: str, precision: str) -> None:
    int8_layer = convolution({"Datatype": "Int8"})
    counts = {"int8": 2} if precision == "int8" else {"int8": 1, precision: 1}
    assert read([convolution(tensor, weights), int8_layer, {"LayerType": "Pooling", "Inputs": [tensor]}]) == counts


@pytest.mark.parametrize(
    ("kind", "is_counted"),
    [
        *((kind, True) for kind in (
            "Convolution", "CaskConvolution", "GroupConvolution", "CaskDeconvolutionV2", "CudaDepthwiseConvolution",
            "CaskGemmConvolution", "CaskConvActPool", "FusedConvActConvolution", "conv", "Gemm", "GEMM", "gemm", "MatMul",
            "MatrixMultiply", "CaskGemmMatrixMultiply", "FullyConnected",
        )),
        *((kind, False) for kind in ("DataConversion", "Conversion", "ConvertLayer", "kgen", "Matrix", "Pooling")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["LayerType", "ParameterType"])
def test_layers_with_weights_are_known_by_whole_words(kind: str, is_counted: bool, key: str) -> None:
    half_layer = convolution({"Datatype": "Half"})
    int8_layer = {"LayerType": "Other", "ParameterType": "Other", key: kind, "Inputs": [{"Datatype": "Int8"}]}
    assert read([half_layer, int8_layer]) == ({"fp16": 1, "int8": 1} if is_counted else {"fp16": 1})


FOREIGN = {"Name": "{ForeignNode[conv1...logits]}", "LayerType": "ForeignNode"}


def test_a_foreign_node_beside_layers_is_counted_as_not_reported() -> None:
    assert read([convolution({"Datatype": "Half"}), FOREIGN]) == {"fp16": 1, "unknown": 1}
    myelin = {"Name": "fused", "LayerType": "Myelin", "ParameterType": "Convolution", "Inputs": [{"Datatype": "Float"}]}
    assert read([convolution({"Datatype": "Half"}), myelin]) == {"fp16": 1, "unknown": 1}


@pytest.mark.parametrize(
    "layers",
    [[FOREIGN], [], ["names", "alone"], "not JSON", '{"Layers": [', "{}", "[]", '{"Layers": null}', '{"Layers": {"a": 1}}',
     [convolution({"Format/Datatype": DYNAMIC})], [{"LayerType": "CaskConvolution", "Inputs": "x", "Weights": 3}]],
)  # fmt: skip
def test_nothing_reported_is_none_and_no_traceback(layers: Any) -> None:
    assert read(layers) is None


@pytest.mark.parametrize(
    "engine",
    [SimpleNamespace(), SimpleNamespace(create_engine_inspector=lambda: None)],
)
def test_a_library_without_an_inspector(engine: Any) -> None:
    assert executed_precisions(SimpleNamespace(), engine) is None
