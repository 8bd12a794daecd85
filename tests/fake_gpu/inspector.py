"""The layers of a plan as the engine inspectors of TensorRT 10, TensorRT 11 and TensorRT-RTX write them."""

from __future__ import annotations

import json
from typing import Any

import onnx
from onnx import TensorProto

_NAMES = {"fp32": "Float", "fp16": "Half", "bf16": "BFloat16", "int8": "Int8", "fp8": "FP8"}
_LINEAR_10 = {"fp32": "Row major linear FP32", "fp16": "Row major linear FP16 format", "bf16": "Row major linear BFloat16",
              "int8": "Row major Int8 format", "fp8": "Row major linear FP8"}  # fmt: skip


def information(graph: bytes, *, style: str, dynamic: bool) -> str:
    """The text for all layers. style: as in plan_bytes.Content; dynamic: whether the batch is."""
    if style == "none":
        raise RuntimeError("the lean runtime has no inspector")
    if style == "broken":
        return '{"Layers": ['
    if style == "rtx":
        return json.dumps({"Layers": [{"Name": "{ForeignNode[convolution...logits]}", "LayerType": "ForeignNode"}]})
    layers = list(_layers(onnx.load_from_string(graph)))
    if style == "names":
        return json.dumps({"Layers": [name for name, _, _ in layers]})
    return json.dumps({"Layers": [_layer(*layer, style=style, dynamic=dynamic) for layer in layers]})


def _layer(name: str, kind: str, precision: str, *, style: str, dynamic: bool) -> dict[str, Any]:
    tensor: dict[str, Any] = {"Name": f"{name}_in", "Location": "Device", "Dimensions": [-1 if dynamic else 8, 3, 8, 8]}
    if style == "10":
        tensor["Format/Datatype"] = "N/A due to dynamic shapes" if dynamic else _LINEAR_10[precision]
    else:
        tensor |= {"Format": "N/A due to dynamic shapes" if dynamic else "Linear", "Datatype": _NAMES[precision]}
    return {
        "Name": name, "LayerType": f"Cask{kind}", "Inputs": [tensor], "Outputs": [{**tensor, "Name": f"{name}_out"}],
        "ParameterType": kind, "Weights": {"Type": _NAMES[precision], "Count": 108}, "TacticName": "sm90_xmma_fprop",
    }  # fmt: skip


def _layers(model: onnx.ModelProto) -> list[tuple[str, str, str]]:
    """Name, kind and precision of the weighted layers, plus one layer that is not weighted."""
    kinds = {"Conv": "Convolution", "Gemm": "MatrixMultiply", "MatMul": "MatrixMultiply"}
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    names = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16",
             TensorProto.INT8: "int8", TensorProto.FLOAT8E4M3FN: "fp8"}  # fmt: skip
    layers = [("pool", "Pooling", "fp32")]
    for node in model.graph.node:
        if node.op_type in kinds:
            weights = node.input[1]
            while weights in makers and weights not in types:  # through DequantizeLinear and QuantizeLinear
                if makers[weights].op_type == "QuantizeLinear":
                    weights = makers[weights].input[2]
                else:
                    weights = makers[weights].input[0]
            layers.append((node.name or node.output[0], kinds[node.op_type], names[types[weights]]))
    return layers
