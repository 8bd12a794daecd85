"""A short run of every fuzzer; `make fuzz` runs each for ten minutes, bench/hostile_files.py writes the table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from skinaudit.tests.fuzz.readers import READERS, fuzz, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, lab: SimpleNamespace) -> Path:
    """A whole file for each reader."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skinaudit.audit.evidence.reference.open_engine", lambda path, **_: lab.LinearEngine(path))
        return write_corpus(tmp_path_factory.mktemp("corpus"), lab)


@pytest.mark.parametrize("name", READERS)
def test_a_changed_file_is_read_or_refused_in_one_line(name: str, corpus: Path, tmp_path: Path) -> None:
    found, wrong = fuzz(name, corpus, tmp_path, inputs=INPUTS.get(name, 25))
    assert not wrong
    assert found["refused in one line"] > 0


INPUTS = {"report": 12, "set": 40}
"""What is slow is asked less often."""
