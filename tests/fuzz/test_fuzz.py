"""A short run of every fuzzer; `make fuzz` runs each for ten minutes, bench/hostile_files.py writes the table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinaudit.tests.fuzz.readers import READERS, fuzz, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, lab: SimpleNamespace) -> Path:
    """A whole file for each reader."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skinaudit.audit.evidence.reference.open_engine", lambda path, **_: lab.LinearEngine(path))
        return write_corpus(tmp_path_factory.mktemp("corpus"), lab)


NEEDS = {".tflite": "openvino", ".pt2": "torch", ".onnx": "onnxruntime"}


def marked(name: str) -> Any:
    """A reader's test; where a runtime opens the file, in a process of its own, and with torch in make check alone."""
    if not READERS[name].opens:
        return name
    slow = [pytest.mark.slow] if name.endswith(".pt2") else []
    return pytest.param(name, marks=[pytest.mark.isolated, *slow])


@pytest.mark.parametrize("name", [marked(name) for name in READERS])
def test_a_changed_file_is_read_or_refused_in_one_line(name: str, corpus: Path, tmp_path: Path) -> None:
    if READERS[name].opens:
        pytest.importorskip(NEEDS[Path(READERS[name].path).suffix])
    found, wrong = fuzz(name, corpus, tmp_path, inputs=INPUTS.get(name, 25))
    assert not wrong
    assert found["refused in one line"] > 0


INPUTS = {"report": 12, "set": 40, "opening .onnx": 6, "opening .tflite": 3, "opening .pt2": 3}
"""What is slow is asked less often."""
