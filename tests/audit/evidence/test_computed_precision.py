"""Errors of kernels of a precision beside those of its emulation, on a chain of layers with random weights."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from skinaudit.audit.evidence.computed_precision import compare_errors
from skinaudit.engines.half import HALVES
from skinaudit.engines.open import open_emulated, open_engine

LAYERS, WIDTH, PIXELS, CLASSES = 8, 48, 3 * 4 * 4, 7


def rounded(values: NDArray[np.float32], precision: str) -> NDArray[np.float32]:
    return values.astype(helper.tensor_dtype_to_np_dtype(HALVES[precision])).astype(np.float32)


def weights() -> list[NDArray[np.float32]]:
    random = np.random.default_rng(0)
    widths = [PIXELS, *[WIDTH] * (LAYERS - 1), CLASSES]
    return [random.normal(0, np.sqrt(2 / rows), (rows, columns)).astype(np.float32) for rows, columns in pairwise(widths)]


def write_graph(path: Path) -> None:
    """`image` -> products with the weights and ReLUs between them -> `logits`."""
    nodes = [helper.make_node("Flatten", ["image"], ["x0"])]
    for layer in range(LAYERS):
        last = layer == LAYERS - 1
        nodes.append(helper.make_node("Gemm", [f"x{layer}", f"w{layer}"], ["logits" if last else f"y{layer}"]))
        nodes += [] if last else [helper.make_node("Relu", [f"y{layer}"], [f"x{layer + 1}"])]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(values, f"w{layer}") for layer, values in enumerate(weights())],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), str(path))


def computed(images: NDArray[np.uint8], precision: str, *, alone: int | None = None) -> NDArray[np.float32]:
    """As a kernel does that sums backwards and rounds once a layer; only before layer `alone`, and no weights, if given."""

    def before(layer: int, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return rounded(values, precision) if alone in (None, layer) else values

    values = before(0, images.reshape(len(images), -1).astype(np.float32) / np.float32(255))
    for layer, matrix in enumerate(weights()):
        typed = rounded(matrix, precision) if alone is None else matrix
        values = values[:, ::-1] @ typed[::-1]
        values = before(layer + 1, values if layer == LAYERS - 1 else np.maximum(values, 0))
    return values


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[Any]]:
    """64 images, and for them the logits of the chain in fp32, of the emulations and of such kernels."""
    path = tmp_path_factory.mktemp("chain") / "fp32.onnx"
    write_graph(path)
    images = np.random.default_rng(1).integers(0, 256, (64, 3, 4, 4), np.uint8)
    answers_by_name: dict[str, NDArray[Any]] = {"images": images, "source": open_engine(path, threads=1).logits(images)}
    for precision in HALVES:
        answers_by_name[f"{precision} emulated"] = open_emulated(path, precision=precision, threads=1).logits(images)
        answers_by_name[precision] = computed(images, precision)
    return answers_by_name


@pytest.mark.parametrize("precision", HALVES)
def test_kernels_of_the_precision_have_errors_of_its_size_and_direction(
    answers: dict[str, NDArray[Any]], precision: str
) -> None:
    emulated = answers[f"{precision} emulated"]
    errors = compare_errors(precision, engine=answers[precision], emulated=emulated, source=answers["source"])
    assert errors.images == 64
    assert 0.5 < errors.engine / errors.emulated < 2
    assert errors.correlation > 0.6
    itself = compare_errors(precision, engine=emulated, emulated=emulated, source=answers["source"])
    assert itself.correlation == pytest.approx(1)


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("layer", [0, LAYERS - 1, LAYERS])
def test_fp32_rounded_at_one_place_has_errors_of_another_direction(
    answers: dict[str, NDArray[Any]], precision: str, layer: int
) -> None:
    """The images, what enters the last product, or the logits alone are in the precision that was asked for."""
    engine = computed(answers["images"], precision, alone=layer)
    errors = compare_errors(precision, engine=engine, emulated=answers[f"{precision} emulated"], source=answers["source"])
    assert errors.engine < errors.emulated / 4 or abs(errors.correlation) < 0.3


@pytest.mark.parametrize(("asked", "actual"), [("fp16", "bf16"), ("bf16", "fp16")])
def test_another_half_precision_has_errors_of_another_size_and_direction(
    answers: dict[str, NDArray[Any]], asked: str, actual: str
) -> None:
    errors = compare_errors(asked, engine=answers[actual], emulated=answers[f"{asked} emulated"], source=answers["source"])
    assert not 0.25 < errors.engine / errors.emulated < 4
    assert abs(errors.correlation) < 0.3


def test_no_errors_do_not_correlate() -> None:
    source = np.arange(14, dtype=np.float32).reshape(2, 7)
    errors = compare_errors("fp16", engine=source, emulated=source + 1, source=source)
    assert (errors.engine, errors.correlation) == (0, 0)
    assert errors.emulated == pytest.approx(1 / 13)
