"""An engine with a planted condition never passes, whatever is missing, renamed or named in its manifest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinaudit.artifacts.manifest import manifest_path, read_engine_manifest, record, write_engine_manifest
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.checks import Severity
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.errors import InvalidInputError

pytestmark = pytest.mark.usefixtures("opened")

Change = Callable[[SimpleNamespace], dict[str, Any]]


@pytest.fixture
def planted(tmp_path: Path, lab: SimpleNamespace) -> SimpleNamespace:
    """A run with an engine whose graph compares; honest in all its answers."""
    run = lab.plant(tmp_path / "run", settings={})
    manifest = read_engine_manifest(run.engine)
    lab.write_planted(run.engine, {"seed": 0, "name": "subject"}, "Greater", "Where")
    planted = SimpleNamespace(run=run.run, engine=run.engine, reference=run.reference, manifest=manifest)
    rewrite(planted)
    return planted


def rewrite(planted: SimpleNamespace, **changes: Any) -> None:
    """Write the engine's manifest with the digest that its file has now, and with changes."""
    own = record(planted.engine, relative_to=planted.engine.parent)
    write_engine_manifest(replace(planted.manifest, engine=own, **changes), engine=planted.engine)


def told(result: AuditResult) -> list[str]:
    return [finding.text for finding in result.findings if finding.rule == "conditions"]


def test_beside_its_reference(planted: SimpleNamespace) -> None:
    result = audit_engine(planted.engine)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the graph has Greater, Where, which its reference does not have" in result.reason


def test_once_more_than_its_reference(planted: SimpleNamespace, lab: SimpleNamespace) -> None:
    lab.write_planted(planted.reference, {"seed": 0}, "Greater")
    reference = record(planted.reference, relative_to=planted.reference.parent)
    lab.write_planted(planted.engine, {"seed": 0, "name": "subject"}, "Greater", "Greater")
    lineage = {**planted.manifest.lineage, "onnx": reference.digest}
    rewrite(planted, reference=reference, graph=reference, lineage=lineage)
    assert "the graph has Greater, which its reference does not have" in audit_engine(planted.engine).reason


def test_an_honest_engine_passes_beside_a_control_from_elsewhere(tmp_path: Path, lab: SimpleNamespace) -> None:
    run = lab.plant(tmp_path / "run", settings={})
    shutil.copytree(run.run, tmp_path / "kept")
    run.reference.unlink()
    result = audit_engine(run.engine, control=tmp_path / "kept" / "engines" / "fp32.onnx")
    assert (result.verdict, told(result)) == (Verdict.PASS, [])


def missing(planted: SimpleNamespace) -> dict[str, Any]:
    shutil.copytree(planted.run, planted.run.with_name("kept"))
    planted.reference.unlink()
    return {"control": planted.run.with_name("kept") / "engines" / "fp32.onnx"}


def another_format(planted: SimpleNamespace) -> dict[str, Any]:
    other_format = planted.reference.with_name("fp32.plan")
    shutil.copy(planted.reference, other_format)
    rewrite(planted, reference=record(other_format, relative_to=other_format.parent))
    return {"control": planted.reference}


def unknown_runtime(planted: SimpleNamespace) -> dict[str, Any]:
    rewrite(planted, runtime="whim")
    return {"runtime": "onnxruntime"}


def its_own_reference(planted: SimpleNamespace) -> dict[str, Any]:
    own = record(planted.engine, relative_to=planted.engine.parent)
    lineage = {**planted.manifest.lineage, "onnx": own.digest}
    rewrite(planted, reference=own, graph=own, lineage=lineage)
    return {}


@pytest.mark.parametrize("change", [missing, another_format, unknown_runtime, its_own_reference])
def test_whatever_its_manifest_names(planted: SimpleNamespace, change: Change) -> None:
    result = audit_engine(planted.engine, **change(planted))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert any("Greater, Where" in text for text in told(result))


def test_under_a_name_in_capitals(planted: SimpleNamespace) -> None:
    capitals = planted.engine.with_name("SUBJECT.ONNX")
    shutil.move(planted.engine, capitals)
    shutil.move(manifest_path(planted.engine), manifest_path(capitals))
    assert audit_engine(capitals).verdict is Verdict.INCONCLUSIVE


def test_a_plan_whose_graph_is_missing_or_of_another_format(tmp_path: Path, lab: SimpleNamespace) -> None:
    run = lab.plant(tmp_path / "run", settings={})
    plan, absent = run.engine.with_name("e.plan"), run.engine.with_name("gone.onnx")
    shutil.copy(run.engine, plan)
    manifest = read_engine_manifest(run.engine)
    own = record(plan, relative_to=plan.parent)
    manifest = replace(manifest, runtime="tensorrt")
    write_engine_manifest(replace(manifest, engine=own), engine=plan)
    honest = audit_engine(plan)
    assert honest.verdict is Verdict.PASS
    (note,) = told(honest)
    assert note.endswith("searched in fp32.onnx; according to the manifest the engine was built from this file")
    for graph in (replace(manifest.graph, file=absent.name), own):
        write_engine_manifest(replace(manifest, engine=own, graph=graph), engine=plan)
        result = audit_engine(plan)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "its format cannot be read" in result.reason


@pytest.mark.parametrize("layers", [{"fp16": 1}, {"fp32": 1, "int8": 1}, {}])
def test_a_reference_whose_layers_are_not_fp32_is_no_control(
    tmp_path: Path, lab: SimpleNamespace, layers: dict[str, int]
) -> None:
    run = lab.plant(tmp_path / "run", settings={"found": layers})
    manifest = read_engine_manifest(run.engine)
    own = record(run.engine, relative_to=run.engine.parent)
    lineage = {**manifest.lineage, "onnx": own.digest}
    for reference in (run.engine, run.engine.with_name("copy.onnx")):
        if not reference.exists():
            shutil.copy(run.engine, reference)
        named = replace(record(reference, relative_to=reference.parent), digest=own.digest)
        write_engine_manifest(replace(manifest, reference=named, lineage=lineage), engine=run.engine)
        with pytest.raises(InvalidInputError, match=r"the precision of its layers is .*; a reference is the source model"):
            audit_engine(run.engine)
    with pytest.raises(InvalidInputError, match=r"the precision of its layers is"):
        audit_engine(run.reference, control=run.engine)


@pytest.mark.parametrize("asked", ["fp16", "int8"])
def test_an_engine_in_another_precision_is_not_its_own_reference(tmp_path: Path, lab: SimpleNamespace, asked: str) -> None:
    """Refused where its layers are what was asked for; where they are fp32, it is no engine of that precision."""
    for precision in (asked, "fp32"):
        run = lab.plant(tmp_path / precision, settings={"found": {precision: 1}}, asked=asked)
        manifest = read_engine_manifest(run.engine)
        own = record(run.engine, relative_to=run.engine.parent)
        lineage = {**manifest.lineage, "onnx": own.digest}
        write_engine_manifest(replace(manifest, reference=own, lineage=lineage), engine=run.engine)
        if precision == "fp32":
            result = audit_engine(run.engine)
            assert result.verdict is Verdict.FAIL
            assert {finding.rule for finding in result.findings if finding.severity is Severity.FAIL} == {"precision"}
        else:
            with pytest.raises(
                InvalidInputError, match=rf"subject.onnx: the precision of its layers is {asked} in 1; a ref"
            ):
                audit_engine(run.engine)
