"""Small plans of the fake GPU's library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fake_gpu.plan_bytes import Content, packed
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

SIDE = 2
"""Of the images of a small plan, (batch, 3, SIDE, SIDE)."""


def doubling(*, batch: str | int = "batch", dtype: int = TensorProto.FLOAT) -> ModelProto:
    """`image` (batch, 3, SIDE, SIDE) -> `logits` (batch, 12), twice the image."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "image"], ["sum"]), helper.make_node("Flatten", ["sum"], ["logits"])],
        "doubling",
        [helper.make_tensor_value_info("image", dtype, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", dtype, [batch, 12])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def images(count: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Random float32 images of a small plan, all different."""
    return np.random.default_rng(seed).normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


@pytest.fixture
def write_plan(tmp_path: Path) -> Callable[..., Path]:
    """Write a plan of `doubling` with optimisation profiles of these batches, and what a test plants (see Content)."""

    def write(
        *batches: Sequence[int], batch: str | int = "batch", dtype: int = TensorProto.FLOAT,
        graph: ModelProto | None = None, **planted: Any,
    ) -> Path:  # fmt: skip
        path = tmp_path / "small.plan"
        model = doubling(batch=batch, dtype=dtype) if graph is None else graph
        sides = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim][1:]
        profiles = tuple({"image": tuple((count, *sides) for count in limits)} for limits in (batches or ((1, 4, 8),)))
        path.write_bytes(packed(Content(onnx.ModelProto.SerializeToString(model), profiles, **planted)))
        return path

    return write
