"""Half precision on a CPU without it: values really are rounded, and really overflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx.shape_inference
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("onnxruntime")

from skinaudit.engines.emulation import emulated
from skinaudit.engines.half import has_half, to_half
from skinaudit.engines.open import open_emulated, open_engine
from skinaudit.errors import EngineError, InvalidInputError

SIZE = 4
KINDS = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def half_model(path: Path, kind: int, *, gain: float = 1.0) -> Path:
    """Sum of all pixels by a convolution in half precision, times `gain`, minus it, for 7 classes."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    weights = np.full((7, 3, SIZE, SIZE), 0.1)
    weights += np.arange(7)[:, None, None, None] / 7
    constants = {"weights": weights.astype(dtype), "gain": np.array(gain).astype(dtype)}
    nodes = [
        helper.make_node("Cast", ["image"], ["half"], to=kind),
        helper.make_node("Conv", ["half", "weights"], ["sums"]),
        helper.make_node("Mul", ["sums", "gain"], ["large"]),
        helper.make_node("Div", ["large", "gain"], ["back"]),
        helper.make_node("Flatten", ["back"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["logits"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "half",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 7])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10), str(path))
    return path


def expected(images: np.ndarray, kind: int) -> np.ndarray:
    """The model by numpy: float64 sums of rounded factors, rounded."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    pixels = (images.astype(np.float32) / np.float32(255)).astype(dtype).astype(np.float64)
    weights = (np.full((7, 3, SIZE, SIZE), 0.1) + np.arange(7)[:, None, None, None] / 7).astype(dtype).astype(np.float64)
    return np.einsum("bchw,kchw->bk", pixels, weights).astype(dtype).astype(np.float32)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, 3, SIZE, SIZE), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_value_is_rounded_to_its_type(tmp_path: Path, images: np.ndarray, kind: int) -> None:
    engine = open_emulated(half_model(tmp_path / "half.onnx", kind), threads=1)
    logits = engine.logits(images)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    assert np.array_equal(logits, logits.astype(dtype).astype(np.float32))
    step = np.spacing(expected(images, kind).astype(dtype)).astype(np.float32)
    assert (np.abs(logits - expected(images, kind)) <= step).all()
    unrounded = np.einsum(
        "bchw,kchw->bk", images / 255, np.full((7, 3, SIZE, SIZE), 0.1) + np.arange(7)[:, None, None, None] / 7
    )
    assert np.abs(logits - unrounded).max() > 1e-4


def test_the_description_tells_what_was_done(tmp_path: Path) -> None:
    description = open_emulated(half_model(tmp_path / "half.onnx", TensorProto.FLOAT16), threads=1).description
    assert description.found == {"fp16": 1}
    assert description.executed == {"fp32": 1}
    assert description.settings["emulation"] == "rounded between layers, computed in fp32"


def test_weights_in_another_file_are_rounded_like_those_in_the_graph(tmp_path: Path, images: np.ndarray) -> None:
    path = half_model(tmp_path / "half.onnx", TensorProto.FLOAT16)
    logits = open_emulated(path, threads=1).logits(images)
    (tmp_path / "beside").mkdir()
    beside = tmp_path / "beside" / "half.onnx"
    onnx.save(onnx.load(path), beside, save_as_external_data=True, location="half.onnx.data", size_threshold=64)
    assert np.array_equal(open_emulated(beside, threads=1).logits(images), logits)


def test_overflow_between_layers_is_infinite_in_fp16_and_not_in_bf16(tmp_path: Path, images: np.ndarray) -> None:
    """Each weight and each logit is small; only what lies between them is beyond 65504."""
    overflowing = half_model(tmp_path / "half.onnx", TensorProto.FLOAT16, gain=60000.0)
    with pytest.raises(EngineError, match="NaN or infinite logits for 9 of 9 images"):
        open_emulated(overflowing, threads=1).logits(images)
    wide = half_model(tmp_path / "wide.onnx", TensorProto.BFLOAT16, gain=60000.0)
    assert np.isfinite(open_emulated(wide, threads=1).logits(images)).all()


def test_a_bfloat16_file_is_emulated_on_a_cpu_and_says_so(tmp_path: Path, images: np.ndarray) -> None:
    path = half_model(tmp_path / "half.onnx", TensorProto.BFLOAT16)
    engine = open_engine(path, threads=1)
    assert engine.description.found == {"bf16": 1}
    assert "emulation" in engine.description.settings
    assert np.array_equal(engine.logits(images), open_emulated(path, threads=1).logits(images))


@pytest.mark.parametrize("precision", KINDS)
def test_an_fp32_graph_is_emulated_in_the_precision_that_was_made_of_it(
    write_model: Callable[..., Path], tmp_path: Path, precision: str
) -> None:
    path, images = write_model(), np.random.default_rng(0).integers(0, 256, (9, 3, 8, 8), dtype=np.uint8)
    typed, _ = to_half(onnx.load(str(path)), KINDS[precision], where="typed")
    onnx.save(typed, str(tmp_path / "typed.onnx"))
    engine = open_emulated(path, precision=precision, threads=1)
    assert engine.description.found == {precision: 2}
    assert np.array_equal(engine.logits(images), open_emulated(tmp_path / "typed.onnx", threads=1).logits(images))
    assert not np.array_equal(engine.logits(images), open_engine(path, threads=1).logits(images))


def test_the_types_of_a_graph_count_more_than_what_is_said_of_it(tmp_path: Path) -> None:
    path = half_model(tmp_path / "half.onnx", TensorProto.BFLOAT16)
    assert open_emulated(path, precision="fp16", threads=1).description.found == {"bf16": 1}


def test_a_weight_beyond_the_precision_is_refused(write_model: Callable[..., Path]) -> None:
    path = write_model(spoil=7e4)
    assert open_emulated(path, threads=1).description.found == {"fp32": 2}
    with pytest.raises(InvalidInputError, match="1 weights exceed 65504"):
        open_emulated(path, precision="fp16", threads=1)


def test_a_graph_without_half_precision_is_opened_as_it_is(write_model: Callable[..., Path]) -> None:
    path = write_model()
    assert not has_half(onnx.load(str(path)))
    assert "emulation" not in open_emulated(path, threads=1).description.settings


def test_the_emulation_holds_no_half_precision_constant(tmp_path: Path) -> None:
    model = onnx.load(str(half_model(tmp_path / "half.onnx", TensorProto.FLOAT16)))
    before = model.SerializeToString()
    assert has_half(model)
    assert not has_half(emulated(model))
    assert model.SerializeToString() == before
