"""From 8-bit images to a runtime's tensor and back: every entry of a contract, against numpy."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from skinaudit.artifacts.engine_contract import EngineContract
from skinaudit.engines.engine import BatchRange
from skinaudit.engines.pixels import middle, resized
from skinaudit.engines.session import Port, SessionDescription, SessionEngine
from skinaudit.engines.single_image import with_batch_axis
from skinaudit.errors import EngineError

SIZE = 4
CONTRACT = EngineContract(SIZE, ("a", "b", "c"))
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, SIZE, SIZE), dtype=np.uint8)


class Recorder:
    """A session that keeps what it is fed and answers with the mean of each channel."""

    def __init__(
        self, *, nhwc: bool = False, dtype: str = "float32", batch: int | None = None, softmax: bool = False
    ) -> None:
        shape = (batch, SIZE, SIZE, 3) if nhwc else (batch, 3, SIZE, SIZE)
        self.inputs = (Port("pixels", shape, dtype),)
        self.outputs = (Port("answers", (batch, 3), "float32"),)
        self.labels: tuple[str, ...] | None = None
        self.description = SessionDescription("recorder", "1", "CPU", "test", 1, {})
        self.fed: list[np.ndarray] = []
        self._axes, self._softmax = ((1, 2) if nhwc else (2, 3)), softmax

    def run(self, tensor: np.ndarray, *, input: str, output: str) -> np.ndarray:
        assert (input, output) == ("pixels", "answers")
        self.fed.append(tensor.copy())
        means = tensor.astype(np.float32).mean(axis=self._axes)
        return means / means.sum(axis=1, keepdims=True) if self._softmax else means - 1


def fed(session: Recorder, **entries: Any) -> np.ndarray:
    """The tensor that a contract with these entries makes of IMAGES."""
    SessionEngine(session, where="e", contract=replace(CONTRACT, **entries)).logits(IMAGES)
    return np.concatenate(session.fed)


def test_the_default_is_division_by_255() -> None:
    assert np.array_equal(fed(Recorder()), IMAGES.astype(np.float32) / np.float32(255))


def test_layout_and_colour_turn_the_axes() -> None:
    tensor = fed(Recorder(nhwc=True), layout="NHWC", colour="BGR")
    assert np.array_equal(tensor, (IMAGES.astype(np.float32) / np.float32(255))[:, ::-1].transpose(0, 2, 3, 1))
    assert tensor.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_scale_mean_and_std_are_per_channel(layout: str) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    tensor = fed(Recorder(nhwc=layout == "NHWC"), layout=layout, scale=Fraction(2, 255), mean=mean, std=std)
    planes = tensor if layout == "NCHW" else tensor.transpose(0, 3, 1, 2)
    shape = (3, 1, 1)
    expected = (IMAGES * 2.0 / 255 - np.reshape(mean, shape)) / np.reshape(std, shape)
    np.testing.assert_allclose(planes, expected, rtol=1e-5, atol=1e-6)


def test_integers_are_rounded_and_kept_in_range() -> None:
    assert np.array_equal(fed(Recorder(dtype="uint8"), dtype="uint8", scale=Fraction(1)), IMAGES)
    signed = fed(Recorder(dtype="int8"), dtype="int8", scale=Fraction(1), mean=(128.0,) * 3)
    assert np.array_equal(signed, (IMAGES.astype(np.int64) - 128).astype(np.int8))
    doubled = fed(Recorder(dtype="uint8"), dtype="uint8", scale=Fraction(2))
    assert np.array_equal(doubled, np.minimum(IMAGES.astype(np.int64) * 2, 255))


def test_pixels_between_the_steps_enter_unless_the_input_is_of_whole_numbers() -> None:
    between = (IMAGES // 2 + np.float32(0.25)).astype(np.float32)
    session = Recorder()
    SessionEngine(session, where="e", contract=CONTRACT).logits(between)
    assert np.array_equal(session.fed[0], between / np.float32(255))
    uint8 = SessionEngine(Recorder(dtype="uint8"), where="e", contract=replace(CONTRACT, dtype="uint8", scale=Fraction(1)))
    with pytest.raises(EngineError, match=r"needs uint8 images \(B, 3, .*, but got float32"):
        uint8.logits(between)


def test_half_precision_input() -> None:
    assert fed(Recorder(dtype="float16"), dtype="float16").dtype == np.float16


def test_a_fixed_batch_is_filled_up_and_the_filling_thrown_away() -> None:
    session = Recorder(batch=2)
    logits = SessionEngine(session, where="e", contract=CONTRACT).logits(IMAGES)
    assert [len(batch) for batch in session.fed] == [2, 2, 2]
    assert np.array_equal(session.fed[2][0], session.fed[2][1])
    assert np.array_equal(logits, SessionEngine(Recorder(), where="e", contract=CONTRACT).logits(IMAGES))


@pytest.mark.parametrize("declared", [{}, {"batch": 2**40}])
def test_a_batch_that_takes_all_memory_is_refused_before_it_is_made(declared: dict[str, int]) -> None:
    session = Recorder(batch=None if declared else 2**40)
    with pytest.raises(EngineError, match=r"e: one call takes 1,099,511,627,776 x 3 x .* numbers, and at most 268,435,456"):
        SessionEngine(session, where="e", contract=replace(CONTRACT, **declared))  # type: ignore[arg-type]


def test_a_declared_batch_is_the_only_one_that_is_fed() -> None:
    session = Recorder()
    engine = SessionEngine(session, where="e", contract=replace(CONTRACT, batch=2))
    engine.logits(IMAGES)
    assert [len(batch) for batch in session.fed] == [2, 2, 2]
    assert engine.description.batches == (BatchRange(2, 2, 2),)
    with pytest.raises(EngineError, match="e: accepts only batch size 4, but the contract says 2; correct batch"):
        SessionEngine(Recorder(batch=4), where="e", contract=replace(CONTRACT, batch=2))


def test_columns_are_answered_in_the_order_asked_for() -> None:
    plain = SessionEngine(Recorder(), where="e", contract=CONTRACT).logits(IMAGES)
    turned = SessionEngine(Recorder(), where="e", contract=CONTRACT, order=("c", "a", "b")).logits(IMAGES)
    assert np.array_equal(turned, plain[:, [2, 0, 1]])


def test_probabilities_become_logarithms_that_keep_the_order() -> None:
    contract = replace(CONTRACT, answer="probabilities")
    logits = SessionEngine(Recorder(softmax=True), where="e", contract=contract).logits(IMAGES)
    assert (logits <= 0).all()
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1, rtol=1e-5)
    with pytest.raises(EngineError, match="do not sum to 1"):
        SessionEngine(Recorder(), where="e", contract=contract).logits(IMAGES)
    with pytest.raises(EngineError, match="outputs probabilities"):
        SessionEngine(Recorder(softmax=True), where="e", contract=CONTRACT).logits(IMAGES)


def test_labels_of_the_file_that_contradict_the_contract_are_refused() -> None:
    session = Recorder()
    session.labels = ("b", "a", "c")
    with pytest.raises(EngineError, match="according to the file, its columns are b, a, c"):
        SessionEngine(session, where="e", contract=CONTRACT)


def test_two_inputs_and_an_unknown_name_are_refused() -> None:
    session = Recorder()
    session.inputs = (*session.inputs, Port("age", (None, 1), "float32"))
    with pytest.raises(EngineError, match="has 2 inputs"):
        SessionEngine(session, where="e", contract=CONTRACT)
    with pytest.raises(EngineError, match=r"no output scores; it has answers float32 \(batch, 3\)"):
        SessionEngine(Recorder(), where="e", contract=replace(CONTRACT, output="scores"))


def test_images_of_other_sides_are_resized_and_keep_what_is_constant() -> None:
    session = Recorder(nhwc=True)
    session.inputs = (Port("pixels", (None, 2, 6, 3), "float32"),)
    tensor = fed(session, layout="NHWC", height=2, width=6, scale=Fraction(1))
    assert tensor.shape == (len(IMAGES), 2, 6, 3)
    np.testing.assert_allclose(tensor.mean(axis=(1, 2)), IMAGES.mean(axis=(2, 3)), atol=25)
    flat = np.broadcast_to(np.array([[10], [20], [30]], np.uint8), (1, 3, SIZE * SIZE)).reshape(1, 3, SIZE, SIZE)
    np.testing.assert_allclose(resized(flat, 2, 6), np.broadcast_to(flat[:, :, :1, :1], (1, 3, 2, 6)), rtol=1e-6)
    halves = resized(np.repeat(np.arange(4, dtype=np.uint8), 4).reshape(1, 1, 4, 4), 2, 4)
    np.testing.assert_allclose(halves[0, 0, :, 0], [5 / 7, 16 / 7], rtol=1e-6)  # weights 3 3 1 and 1 3 3 of seven


def test_the_middle_square_of_a_squashed_frame_has_its_own_share_of_the_width() -> None:
    frame = np.zeros((1, 3, 8, 8), np.uint8)
    frame[..., 2:6] = 200
    wide, tall = middle(frame, 1.0, 0.5), middle(frame.transpose(0, 1, 3, 2), 0.5, 1.0)
    assert (wide[..., 1:7] == 200).all()
    assert np.array_equal(wide, tall.transpose(0, 1, 3, 2))


def test_a_grey_engine_is_fed_the_luminance() -> None:
    session = Recorder()
    session.inputs = (Port("pixels", (None, 1, SIZE, SIZE), "float32"),)
    session.outputs = (Port("answers", (None, 1), "float32"),)
    contract = replace(CONTRACT, colour="grey", scale=Fraction(1), mean=(1.0, 0, 0), classes=("a", "b"), positive="b")
    SessionEngine(session, where="e", contract=contract).logits(IMAGES)
    luminance = np.tensordot(np.array([0.299, 0.587, 0.114]), IMAGES.astype(float), (0, 1))[:, np.newaxis]
    np.testing.assert_allclose(session.fed[0], luminance - 1, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float64", "int16", "uint16", "int32"])
def test_other_types_of_numbers_get_the_same_pixels(dtype: str) -> None:
    tensor = fed(Recorder(dtype=dtype), dtype=dtype, scale=Fraction(1))
    assert tensor.dtype == dtype
    assert np.array_equal(tensor, IMAGES)


class OneImage(Recorder):
    """A session without an axis for the batch."""

    def __init__(self, *, batched_input: bool) -> None:
        super().__init__(batch=1)
        self._batched = batched_input
        self.outputs = (Port("answers", (3,), "float32"),)
        if not batched_input:
            self.inputs = (Port("pixels", (3, SIZE, SIZE), "float32"),)

    def run(self, tensor: np.ndarray, *, input: str, output: str) -> np.ndarray:
        assert tensor.ndim == (4 if self._batched else 3)
        return super().run(tensor if self._batched else tensor[np.newaxis], input=input, output=output)[0]


@pytest.mark.parametrize("batched_input", [True, False])
def test_an_engine_without_an_axis_for_the_batch_answers_image_by_image(batched_input: bool) -> None:
    session = with_batch_axis(OneImage(batched_input=batched_input))
    assert (session.inputs[0].shape, session.outputs[0].shape) == ((1, 3, SIZE, SIZE), (1, 3))
    logits = SessionEngine(session, where="e", contract=CONTRACT).logits(IMAGES)
    np.testing.assert_allclose(logits, SessionEngine(Recorder(), where="e", contract=CONTRACT).logits(IMAGES), atol=1e-6)


def test_a_session_with_an_axis_for_the_batch_stays_itself() -> None:
    for session in (Recorder(), Recorder(batch=1), Recorder(batch=4)):
        assert with_batch_axis(session) is session
    column = Recorder(batch=1)
    column.outputs = (Port("answers", (1,), "float32"),)
    assert with_batch_axis(column) is column


class Answering(Recorder):
    """A session with the given answers."""

    def __init__(self, answers: list[list[float]]) -> None:
        super().__init__()
        self._answers = np.array(answers, np.float32)

    def run(self, tensor: np.ndarray, *, input: str, output: str) -> np.ndarray:
        return self._answers[: len(tensor)]


def test_one_sigmoid_per_class_is_read_as_its_logit() -> None:
    rows = [[0.5, 0.9, 0.2]] * len(IMAGES)
    logits = SessionEngine(Answering(rows), where="e", contract=replace(CONTRACT, answer="sigmoids")).logits(IMAGES)
    np.testing.assert_allclose(logits[0], [0, np.log(9), -np.log(4)], atol=1e-6)
    with pytest.raises(EngineError, match=r'not between 0 and 1; write answer = "logits"'):
        SessionEngine(
            Answering([[0.5, 1.9, 0.2]] * 5), where="e", contract=replace(CONTRACT, answer="sigmoids")
        ).logits(IMAGES)  # fmt: skip
    with pytest.raises(EngineError, match='"sigmoids" for one sigmoid per class'):
        SessionEngine(Answering(rows), where="e", contract=replace(CONTRACT, answer="probabilities")).logits(IMAGES)


def test_probabilities_in_percent_are_probabilities() -> None:
    rows = [[50.0, 20.0, 30.0]] * len(IMAGES)
    logits = SessionEngine(Answering(rows), where="e", contract=replace(CONTRACT, answer="probabilities")).logits(IMAGES)
    np.testing.assert_allclose(np.exp(logits[0]), [0.5, 0.2, 0.3], rtol=1e-6)
    with pytest.raises(EngineError, match="outputs probabilities"):
        SessionEngine(Answering(rows), where="e", contract=CONTRACT).logits(IMAGES)
