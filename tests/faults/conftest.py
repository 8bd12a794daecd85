"""The run that faults are planted in, trained once a session."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from skinaudit.tests.faults.lab import Lab, build_lab, lab_in
from skinaudit.tests.shared import built_once


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A standard and a hardened run with engines: about a minute of one CPU."""
    return lab_in(built_once(tmp_path_factory, "faults", build_lab))
