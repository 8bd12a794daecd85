"""Answers in 8-bit integers: what their codes stand for, where the file tells, and a refusal where it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("onnxruntime")

from skinaudit.artifacts.engine_contract import EngineContract
from skinaudit.engines.integers import Codes, are_probabilities, codes_of_range, log_probabilities
from skinaudit.engines.open import open_engine
from skinaudit.errors import EngineError

CONTRACT = EngineContract(4, ("a", "b", "c"))


@pytest.mark.parametrize("codes", [Codes(1 / 256, 0), Codes(0.05, 131), Codes(0.3, -7)])
def test_codes_are_recovered_from_the_range_that_they_cover(codes: Codes) -> None:
    ends = codes.decoded(np.array([0, 255]))
    recovered = codes_of_range(float(ends[0]), float(ends[1]), 0, 255)
    assert recovered.zero_point == codes.zero_point
    assert recovered.scale == pytest.approx(codes.scale)


def test_rounded_probabilities_are_still_probabilities() -> None:
    exact = np.random.default_rng(0).dirichlet(np.ones(7), 200).astype(np.float32)
    codes = Codes(1 / 256, 0)
    rounded = codes.decoded(np.rint(exact * 256).clip(0, 255))
    assert are_probabilities(exact, None)
    assert are_probabilities(rounded, codes)
    assert not are_probabilities(rounded, None)
    assert not are_probabilities(rounded * 2, codes)
    assert log_probabilities(rounded, codes).min() == np.float32(np.log(1 / 512))


def write(path: Path, *, quantised: bool) -> Path:
    """Means of the channels in integers: by QuantizeLinear, or by a cast that leaves their meaning open."""
    last = (
        helper.make_node("QuantizeLinear", ["means", "scale", "zero"], ["answers"])
        if quantised
        else helper.make_node("Cast", ["means"], ["answers"], to=TensorProto.UINT8)
    )
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        last,
    ]
    graph = helper.make_graph(
        nodes, "integers",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("answers", TensorProto.UINT8, ["batch", 3])],
        [numpy_helper.from_array(np.float32(0.01), "scale"), numpy_helper.from_array(np.uint8(100), "zero")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


def test_an_onnx_file_that_quantises_its_answers_is_decoded(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    engine = open_engine(write(tmp_path / "told.onnx", quantised=True), contract=CONTRACT, threads=1)
    expected = images.astype(np.float64).mean(axis=(2, 3)) / 255
    np.testing.assert_allclose(engine.logits(images), expected, atol=0.0051)


def test_integers_without_a_meaning_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not say what its integers mean"):
        open_engine(write(tmp_path / "open.onnx", quantised=False), contract=CONTRACT, threads=1)
