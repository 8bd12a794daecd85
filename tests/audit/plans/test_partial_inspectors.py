"""What an inspector reports does not prove the precision of a plan: the rounding of its answers has to agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_gpu import inspector
from planned_run import plant_plan

from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.judgement.verdict import Verdict

pytestmark = pytest.mark.usefixtures("fake_gpu")
HALF = {"LayerType": "CaskConvolution", "Name": "a", "Inputs": [{"Datatype": "Half"}]}
REPORTS = {
    "all layers": [HALF],
    "one layer and a generated kernel": [HALF, {"LayerType": "kgen", "Name": "__mye_fc_fp32"}],
    "a copy alone": [{"LayerType": "DataConversion", "Inputs": [{"Datatype": "Half"}]}],
    "a layer and two foreign nodes": [HALF, *[{"LayerType": "Myelin", "Name": "ForeignNode"}] * 2],
}
"""What is reported, by what it is."""


def audited(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    layers: list[dict[str, Any]],
    *,
    precision: str = "fp16",
    **planted: Any,
) -> AuditResult:
    monkeypatch.setattr(inspector, "information", lambda graph, style, dynamic: json.dumps({"Layers": layers}))
    return audit_engine(plant_plan(folder, precision, images=1400, **planted).engine, threads=1)


def severities(result: AuditResult) -> dict[str, str]:
    return {finding.rule: finding.severity.value for finding in result.findings}


@pytest.mark.parametrize("reported", REPORTS)
def test_fp32_fails_whatever_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: str) -> None:
    result = audited(tmp_path, monkeypatch, REPORTS[reported], compute="fp32")
    assert severities(result)["computed-precision"] == "fail"
    assert result.verdict is Verdict.FAIL


@pytest.mark.parametrize("reported", REPORTS)
def test_a_sound_plan_passes_whatever_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: str) -> None:
    result = audited(tmp_path, monkeypatch, REPORTS[reported])
    assert severities(result)["computed-precision"] == "note"
    assert result.verdict is Verdict.PASS, result.reason


@pytest.mark.parametrize(("asked", "computed"), [("fp16", "bf16"), ("bf16", "fp16"), ("int8", "bf16")])
def test_another_type_than_the_reported_one_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, computed: str
) -> None:
    name = {"fp16": "Half", "bf16": "BFloat16", "int8": "Int8"}[asked]
    result = audited(tmp_path, monkeypatch, [{**HALF, "Inputs": [{"Datatype": name}]}], precision=asked, compute=computed)
    assert severities(result)["computed-precision"] in ("inconclusive", "fail")
    assert result.verdict is not Verdict.PASS
