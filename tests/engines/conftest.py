"""A small classifier as an ONNX file, made without torch, with the faults that a test asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

SIZE, CLASSES = 8, 7


def small_model(
    *,
    input_name: str = "image",
    output_name: str = "logits",
    channels: int = 3,
    batch: str | int = "batch",
    height: int = SIZE,
    rank: int = 4,
    dtype: int = TensorProto.FLOAT,
    spoil: float | None = None,
) -> ModelProto:
    """Conv, Relu, mean, Gemm; `spoil` replaces one weight of the Gemm."""
    rng = np.random.default_rng(0)
    numpy_type = helper.tensor_dtype_to_np_dtype(dtype)
    convolution = rng.normal(size=(4, channels, 3, 3)).astype(numpy_type)
    matrix = rng.normal(size=(CLASSES, 4)).astype(numpy_type)
    if spoil is not None:
        matrix[0, 0] = spoil
    shape = [batch, channels, height, SIZE][:rank]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", [input_name, "convolution"], ["features"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["features"], ["rectified"]),
            helper.make_node("GlobalAveragePool", ["rectified"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "matrix"], [output_name], transB=1),
        ],
        "small",
        [helper.make_tensor_value_info(input_name, dtype, shape)],
        [helper.make_tensor_value_info(output_name, dtype, [batch, CLASSES])],
        [numpy_helper.from_array(convolution, "convolution"), numpy_helper.from_array(matrix, "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {"skinaudit.run": "small"})
    return model


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """Write `small_model(**faults)` and return its path."""

    def write(**faults: object) -> Path:
        path = tmp_path / "small.onnx"
        onnx.save(small_model(**faults), str(path))  # type: ignore[arg-type]
        return path

    return write
