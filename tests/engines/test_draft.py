"""What a draft finds in files of other tools, and how it says that one cannot be audited as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skinaudit.artifacts.engine_contract import EngineContract
from skinaudit.engines import draft
from skinaudit.engines.session import Port, SessionDescription
from skinaudit.errors import EngineError


class Noise:
    """A session that answers rows of numbers to anything."""

    def __init__(self, inputs: list[Port], outputs: list[Port], row: list[float]) -> None:
        self.inputs, self.outputs, self.labels = inputs, outputs, None
        self.description = SessionDescription("noise", "1", "CPU", "test", 1, {})
        self._row = np.array(row, np.float32)

    def run(self, tensor: np.ndarray, *, input: str, output: str) -> np.ndarray:
        return np.tile(self._row, (len(tensor), 1))


def drafted(monkeypatch: pytest.MonkeyPatch, *inputs: Port, output: Port | None = None, row: list[float]) -> EngineContract:
    session = Noise(list(inputs), [output or Port("y", (None, None), "float32")], row)
    monkeypatch.setattr(draft, "open_session", lambda path, threads: session)
    return draft.draft_contract(Path("e.onnx"))[0]


def image(*shape: int | None, dtype: str = "float32") -> Port:
    return Port("x", (None, *shape), dtype)


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (image(75, 100, 3), ("NHWC", 100, (75, 100), "RGB")),
        (image(3, 64, 64), ("NCHW", 64, (64, 64), "RGB")),
        (image(1, 64, 48), ("NCHW", 64, (64, 48), "grey")),
        (image(28, 28, 1), ("NHWC", 28, (28, 28), "grey")),
        (image(None, None, 3, dtype="int32"), ("NHWC", 224, (224, 224), "RGB")),
    ],
)
def test_sides_and_channels_are_read(monkeypatch: pytest.MonkeyPatch, port: Port, expected: tuple[object, ...]) -> None:
    contract = drafted(monkeypatch, port, row=[1.0, -2.0])
    assert (contract.layout, contract.size, contract.sides, contract.colour) == expected


@pytest.mark.parametrize(
    ("row", "answer"),
    [([0.2, 0.8, 0.0], "probabilities"), ([20.0, 80.0, 0.0], "probabilities"), ([0.9, 0.8, 0.0], "sigmoids"),
     ([3.0, -1.0, 0.5], "logits"), ([0.4], "probabilities"), ([4.0], "logits")],
)  # fmt: skip
def test_columns_and_kind_of_answer_are_those_of_the_answer_to_noise(
    monkeypatch: pytest.MonkeyPatch, row: list[float], answer: str
) -> None:
    contract = drafted(monkeypatch, image(3, 8, 8), row=row)
    assert (contract.answer, contract.columns) == (answer, len(row))


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        ([image(3, 8, 8), Port("age", (None, 4), "float32")], None, r"has 2 inputs .*age.*store usual values of the others"),
        ([Port("x", (None, 192), "float32")], None, "put a Reshape in front"),
        ([image(8, 8, 4)], None, "put a conversion from RGB in front"),
        ([image(3, 100_000, 100_000)], None, "one call takes 4 x 3 x 100,000 x 100,000 numbers, and at most 268,435,456"),
        ([image(3, 2**62, 2**62)], None, "export it for fewer or smaller images"),
        ([Port("x", (2**40, 3, 8, 8), "float32")], None, "one call takes 1,099,511,627,776 x 3 x 8 x 8 numbers"),
        ([image(3, 8, 8)], Port("label", (None,), "int64"), "holds labels and no scores.*export the file with its logits"),
    ],
)
def test_a_file_that_cannot_be_audited_is_told_what_would_help(
    monkeypatch: pytest.MonkeyPatch, inputs: list[Port], output: Port | None, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        drafted(monkeypatch, *inputs, output=output, row=[1.0, 2.0])
