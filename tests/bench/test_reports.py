"""The audit with one report and with all of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from skinaudit.audit import reports
from skinaudit.bench.reports import measure_reports
from skinaudit.errors import SkinauditError


@pytest.fixture
def run(exported_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported_run, tmp_path / "run"))


@pytest.mark.slow
def test_both_audits_run_to_their_verdict(run: Path) -> None:
    figures = measure_reports(run / "engines" / "fp32.onnx", run, rounds=1, threads=1)
    assert figures.forms == reports.names()
    assert figures.ratio == pytest.approx(figures.every / figures.alone)
    assert figures.sets == 3


@pytest.mark.slow
def test_an_audit_that_stops_is_no_measurement(run: Path) -> None:
    engine = run / "engines" / "fp32.onnx"
    engine.write_bytes(b"no engine")
    with pytest.raises(SkinauditError, match=r"fp32.onnx: the audit stopped: "):
        measure_reports(engine, run, rounds=1, threads=1)
