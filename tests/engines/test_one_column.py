"""Engines that answer in one column: what becomes of it, and decisions that the threshold moves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.engine_contract import EngineContract
from skinaudit.artifacts.logits import named_classes, predictions
from skinaudit.engines.integers import Codes
from skinaudit.engines.session import Port, SessionDescription, SessionEngine
from skinaudit.errors import EngineError

SIZE = 2
ODDS = np.array([-3.0, -1.0, 0.0, 1.0, 40.0], np.float32)
IMAGES = np.zeros((len(ODDS), 3, SIZE, SIZE), np.uint8)
CONTRACT = EngineContract(SIZE, ("benign", "malignant"), positive="malignant")


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


class Given:
    """A session that answers what it was given, in the shape that it was given."""

    def __init__(self, answers: np.ndarray, codes: Codes | None = None, *, name: str = "pixels") -> None:
        self.inputs = (Port(name, (None, 3, SIZE, SIZE), "float32"),)
        self.outputs = (Port("logits", (None, *answers.shape[1:]), str(answers.dtype), codes),)
        self.labels: tuple[str, ...] | None = None
        self.description = SessionDescription("given", "1", "CPU", "test", 1, {})
        self._answers = answers

    def run(self, tensor: np.ndarray, *, input: str, output: str) -> np.ndarray:
        return self._answers


def answered(answers: np.ndarray, contract: EngineContract = CONTRACT, codes: Codes | None = None) -> np.ndarray:
    return SessionEngine(Given(answers, codes), where="e", contract=contract).logits(IMAGES)


@pytest.mark.parametrize("shape", [(-1, 1), (-1,), (-1, 1, 1, 1)])
def test_a_logit_becomes_two(shape: tuple[int, ...]) -> None:
    logits = answered(ODDS.reshape(shape))
    np.testing.assert_allclose(logits, np.stack([np.zeros(5), ODDS], axis=1), atol=1e-30)
    assert predictions(logits).tolist() == [0, 0, 0, 1, 1]


def test_a_sigmoid_becomes_its_logit_and_the_positive_class_may_be_the_first() -> None:
    contract = replace(CONTRACT, classes=("malignant", "benign"), answer="probabilities")
    logits = answered(sigmoid(ODDS), contract)
    np.testing.assert_allclose(logits[:4, 0], ODDS[:4], atol=1e-6)
    assert math.isfinite(logits[4, 0])
    assert predictions(logits).tolist() == [1, 1, 1, 0, 0]


@pytest.mark.parametrize(("threshold", "named"), [(0.02, [1, 1, 1, 1, 1]), (0.3, [0, 0, 1, 1, 1]), (0.9, [0, 0, 0, 0, 1])])
@pytest.mark.parametrize("answer", ["logits", "probabilities"])
def test_the_threshold_decides(threshold: float, named: list[int], answer: str) -> None:
    contract = replace(CONTRACT, threshold=threshold, answer=answer)
    assert predictions(answered(ODDS if answer == "logits" else sigmoid(ODDS), contract)).tolist() == named


def test_an_answer_at_the_threshold_is_not_above_it_whichever_column_it_is_for() -> None:
    """Codes of 8 bit meet a threshold of one half exactly."""
    codes, answers = Codes(1 / 256, 0), np.array([0, 127, 128, 129, 255], np.uint8)
    for classes in (("benign", "malignant"), ("malignant", "benign")):
        contract = replace(CONTRACT, classes=classes, answer="probabilities")
        named = [classes[place] for place in predictions(answered(answers, contract, codes))]
        assert named == ["benign"] * 3 + ["malignant"] * 2
    exact = np.full(5, 0.3, np.float32)
    assert not predictions(answered(exact, replace(CONTRACT, threshold=0.3, answer="probabilities"))).any()


@pytest.mark.parametrize(
    ("answers", "contract", "message"),
    [
        (ODDS, replace(CONTRACT, answer="probabilities"), 'some outputs are not between 0 and 1; write answer = "logits"'),
        (np.stack([ODDS, ODDS], 1), CONTRACT, "the positive class of one column; leave positive out"),
        (ODDS[:, None], replace(CONTRACT, positive=None), 'write with positive = "..." for which of them the one column is'),
        (ODDS[:, None], replace(CONTRACT, positive=None, classes=("a", "b", "c")), "names 3 classes; name all of them"),
    ],
)
def test_an_answer_that_is_not_as_the_contract_says_is_refused(
    answers: np.ndarray, contract: EngineContract, message: str
) -> None:
    with pytest.raises(EngineError) as caught:
        answered(answers, contract)
    assert message in str(caught.value)


def test_an_own_engine_takes_positive_class_and_threshold_from_its_run() -> None:
    run = InputContract(SIZE, ("m", "b"), ("m",), positive="m", threshold=0.9)
    engine = SessionEngine(Given(ODDS[:, None], name="image"), where="e", own=run)
    assert predictions(engine.logits(IMAGES)).tolist() == [1, 1, 1, 1, 0]
    assert engine.description.classes == 2
    with pytest.raises(EngineError, match="but its run has one column per class"):
        SessionEngine(Given(ODDS[:, None], name="image"), where="e")
    with pytest.raises(EngineError, match="but its run has one column;"):
        SessionEngine(Given(np.stack([ODDS, ODDS], 1), name="image"), where="e", own=run)


def test_raw_answers_of_one_column_name_classes_too() -> None:
    assert named_classes(ODDS[:, None]).tolist() == [0, 0, 0, 1, 1]
    assert named_classes(np.stack([ODDS, -ODDS], 1)).tolist() == [1, 1, 0, 0, 0]


def test_columns_of_one_class_count_by_their_largest_answer() -> None:
    mapping = {"ak": ("akiec",), "background": (), "scc": ("akiec",), "nv": ("nv",)}
    contract = EngineContract(SIZE, tuple(mapping), mapping=mapping)
    answers = np.array([[1, 9, 2, 0], [3, 0, 1, 2], [0, 0, 0, 4], [0, 0, 5, 1], [1, 0, 0, 0]], np.float32)
    session = Given(answers)
    logits = SessionEngine(session, where="e", contract=contract, order=("nv", "ak / scc", "background")).logits(IMAGES)
    assert logits.tolist() == [[0, 2, 9], [2, 3, 0], [4, 0, 0], [1, 5, 0], [0, 1, 0]]
    with pytest.raises(EngineError, match=r"or say with \[output.mapping\]"):
        SessionEngine(session, where="e", contract=contract, order=("nv", "akiec"))
