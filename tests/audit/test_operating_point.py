"""Source and engine at the threshold that the run fixed: in figures, gates, the verdict and the report that is read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinaudit.artifacts.external import ExternalSets, write_external
from skinaudit.artifacts.manifest import read_engine_manifest, read_run, record, write_engine_manifest, write_run
from skinaudit.artifacts.operating_point import OperatingPoint
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.reading import read_audit
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.reports import html, markdown, terminal
from skinaudit.audit.reports.json_ import to_json
from skinaudit.errors import InvalidInputError

pytestmark = pytest.mark.usefixtures("opened")
POINT = OperatingPoint(0.9, 0.0, 0.95, 0.8, 300, 100)
BOUNDED = Policy(operating_specificity=0.9, operating_margin=5.0, operating_prevalence=0.02)


def plant(lab: SimpleNamespace, folder: Path, **settings: Any) -> Path:
    """A run that recorded the operating point, and its engine."""
    planted = lab.plant(folder, settings=settings)
    write_run(folder, replace(read_run(folder), operating_points=(POINT,)))
    engine: Path = planted.engine
    return engine


@pytest.fixture
def result(lab: SimpleNamespace, tmp_path: Path) -> AuditResult:
    return audit_engine(plant(lab, tmp_path / "run", fault="melanoma to nevus"), policy=BOUNDED)


def test_a_loss_of_sensitivity_fails_where_the_policy_bounds_it(
    result: AuditResult, lab: SimpleNamespace, tmp_path: Path
) -> None:
    clean = result.sets[0]
    assert clean.at_threshold is not None
    assert clean.at_threshold.sensitivity_drop is not None
    assert clean.at_threshold.sensitivity_drop.value > 0.1
    assert clean.scores is not None
    assert clean.scores.source is not None
    assert clean.scores.engine.brier > clean.scores.source.brier
    gates = [gate for gate in result.gates if gate.rule == "operating-sensitivity"]
    assert [gate.set for gate in gates] == [entry.title for entry in result.sets]
    assert gates[0].judgement.verdict is Verdict.FAIL
    honest = audit_engine(plant(lab, tmp_path / "honest"), policy=BOUNDED)
    assert {gate.judgement.verdict for gate in honest.gates if gate.rule == "operating-sensitivity"} == {Verdict.PASS}
    assert honest.verdict is Verdict.PASS


def test_the_report_is_read_back_and_edited_calls_are_refused(result: AuditResult, tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(to_json(result)))
    assert read_audit(path) == result
    value = to_json(result)
    value["sets"][0]["at_threshold"]["engine"]["specificity"]["right"] -= 1
    path.write_text(json.dumps(value))
    with pytest.raises(InvalidInputError, match="does not match its predictions per image"):
        read_audit(path)


def test_every_report_shows_the_point_and_its_figures(result: AuditResult) -> None:
    for text in (terminal.render(result), markdown.render(result), html.render(result, pictures=False)):
        plain = " ".join(text.split())
        assert "malignant if the malignant score is above 0.5" in plain
        for figure in ("ROC AUC", "ensitivity", "pecificity"):
            assert figure in plain
    assert "negative predictive value" in markdown.render(result)


def test_the_engine_s_manifest_and_its_run_have_to_agree(lab: SimpleNamespace, tmp_path: Path) -> None:
    engine = plant(lab, tmp_path / "run")
    write_engine_manifest(
        replace(read_engine_manifest(engine), operating_points=(replace(POINT, threshold=1.0),)), engine=engine
    )
    with pytest.raises(InvalidInputError, match="different operating points; export it again"):
        audit_engine(engine)


def test_the_threshold_of_the_run_is_applied_to_external_images(lab: SimpleNamespace, tmp_path: Path) -> None:
    engine = plant(lab, tmp_path / "run")
    folder = tmp_path / "run" / "external" / "hospital-b"
    lab.write_sets(folder, *lab.pictures(420, seed=99), seed=0, source=read_run(tmp_path / "run").weights.digest)
    files = {path.stem: record(path, relative_to=folder) for path in folder.glob("*.safetensors")}
    write_external(folder, ExternalSets("hospital-b", "Hospital B", "sha256:0", {}, files, {}))
    result = audit_engine(engine, sets=folder, policy=BOUNDED, seed=0)
    assert result.operating_point == POINT
    assert all(entry.at_threshold is not None for entry in result.sets)
    assert "operating-sensitivity" in {gate.rule for gate in result.gates}
