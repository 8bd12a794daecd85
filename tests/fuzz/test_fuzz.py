"""A short run of every fuzzer; `make fuzz` runs each for ten minutes, bench/hostile_files.py writes the table."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinaudit.bench.everywhere_parts.kinds import KINDS
from skinaudit.tests.fuzz.mutations import bytes_changed
from skinaudit.tests.fuzz.odd_files import FILES, odd_files
from skinaudit.tests.fuzz.readers import OUTCOMES, READERS, fuzz, outcome_of, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, lab: SimpleNamespace) -> Path:
    """A whole file for each reader."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skinaudit.audit.evidence.reference.open_engine", lambda path, **_: lab.LinearEngine(path))
        return write_corpus(tmp_path_factory.mktemp("corpus"), lab)


NEEDS = {".tflite": "openvino", ".xml": "openvino", ".pt2": "torch", ".onnx": "onnxruntime"}


def marked(name: str) -> Any:
    """A reader's test; where a runtime opens the file, in a process of its own; .pt2 and .xml in make check alone."""
    if not READERS[name].opens:
        return name
    slow = [pytest.mark.slow] if name.endswith((".pt2", ".xml")) else []
    return pytest.param(name, marks=[pytest.mark.isolated, *slow])


@pytest.mark.parametrize("name", [marked(name) for name in READERS])
def test_a_changed_file_is_read_or_refused_in_one_line(name: str, corpus: Path, tmp_path: Path) -> None:
    if READERS[name].opens:
        pytest.importorskip(NEEDS[Path(READERS[name].path).suffix])
    outcomes, wrong = fuzz(name, corpus, tmp_path, inputs=INPUTS.get(name, 25))
    assert not wrong
    assert outcomes["refused in one line"] > 0


INPUTS = {
    "report": 12,
    "lock": 60,
    "set": 40,
    "opening .onnx": 6,
    "opening .xml": 4,
    "opening .tflite": 3,
    "opening .pt2": 3,
}
"""What is slow is asked less often."""


@pytest.mark.parametrize("name", list(FILES))
def test_odd_files_are_read_or_refused_in_one_line_too(name: str, corpus: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(corpus, tmp_path / "corpus")) / READERS[name].path
    before = READERS[name].read(path)
    outcomes = {}
    for case, content in odd_files(name, tmp_path):
        for turn in range(3):
            path.write_bytes(content if not turn else bytes_changed(content, random.Random(f"{case} {turn}")))
            outcomes[case, turn] = outcome_of(READERS[name], path, before)
    assert outcomes
    assert {key: outcome for key, outcome in outcomes.items() if outcome[0] not in OUTCOMES[:2]} == {}


SPECIAL = ("pipe", "link to /dev/zero", "link to itself", "link to nowhere", "socket", "folder", "1 TB of holes")


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_is_refused_by_every_reader(kind: str, corpus: Path, tmp_path: Path) -> None:
    outcomes = {}
    for name, reader in READERS.items():
        if not reader.opens and name != "lock":  # which may hold anything, see tests/artifacts/test_one_writer.py
            path = Path(shutil.copytree(corpus, tmp_path / name)) / reader.path
            before = reader.read(path)
            path.unlink()
            KINDS[kind].make(path, tmp_path / "marker")
            outcomes[name] = outcome_of(reader, path, before)
    assert {name: outcome for name, outcome in outcomes.items() if outcome[0] != "refused in one line"} == {}
