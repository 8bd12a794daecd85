"""An engine that is wrong on one subgroup alone, from its sets to its reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinaudit.audit.audit import audit_engine
from skinaudit.audit.figures.subgroups import SubgroupShare
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.reading import read_audit
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.judgement.subgroup_gates import RULE
from skinaudit.audit.reports import html, markdown, terminal
from skinaudit.audit.reports.json_ import render
from skinaudit.audit.reports.parts.subgroups import subgroups_text
from skinaudit.errors import InvalidInputError

HOSTILE = "<script>alert(1)</script>[red]|x"
SITES = tuple(HOSTILE if index // 7 % 5 == 0 else "face" for index in range(700))
AGES = tuple("" if index < 10 else str(index % 90) for index in range(700))


@pytest.fixture
def planted(tmp_path: Path, lab: SimpleNamespace, opened: list[Any]) -> Any:
    settings = {"fault": "subgroup", "sets": str(tmp_path / "run" / "sets"), "column": "site", "value": HOSTILE}
    return lab.plant(tmp_path / "run", settings=settings, subgroups={"site": SITES, "age": AGES})


def test_an_engine_that_is_wrong_on_one_site_fails_there_and_no_edit_hides_it(tmp_path: Path, planted: Any) -> None:
    result = audit_engine(planted.engine, small_probe=False)
    assert result.verdict is Verdict.FAIL
    failed = {gate.subject for gate in result.gates if gate.rule == RULE and gate.judgement.verdict is Verdict.FAIL}
    assert f"accuracy, site {HOSTILE}" in failed
    assert not any("age" in subject for subject in failed)
    page = html.render(result, pictures=False)
    assert "By age: 5 subgroups; 10 images of unknown or rarer values" in page
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>" not in markdown.render(result)
    assert "site &lt;script&gt;" in markdown.render(result)
    assert "[red]" in terminal.render(result)  # as it stands, not as a colour
    assert "more than the rest of the set" in subgroups_text(result)
    assert subgroups_text(without_source(result)) == (
        "subgroups (5 by age, 2 by site): shown and not judged, because there is no source model to compare with"
    )
    path = tmp_path / "report.json"
    path.write_text(render(result), encoding="utf-8")
    assert read_audit(path) == result
    refuse_edits(path, render(result))
    read_as_earlier(path, render(result))


def without_source(result: AuditResult) -> AuditResult:
    """The result as of an engine of another tool, whose subgroups have no drop."""

    def alone(share: SubgroupShare) -> SubgroupShare:
        return replace(share, source=None, drop=None, excess=None)

    sets = [
        replace(entry, subgroups=tuple(
            replace(subgroup, accuracy=alone(subgroup.accuracy),
                    malignant=None if subgroup.malignant is None else alone(subgroup.malignant))
            for subgroup in entry.subgroups
        ))
        for entry in result.sets
    ]  # fmt: skip
    return replace(result, sets=tuple(sets))


def read_as_earlier(path: Path, written: str) -> None:
    """A report whose subgroups were judged by an earlier test is read; one that hides what fails by today's is not."""
    report = json.loads(written)
    for entry in report["sets"]:
        for subgroup in entry["subgroups"]:
            for share in filter(None, (subgroup["accuracy"], subgroup["malignant"])):
                del share["excess"]
    path.write_text(json.dumps(report), encoding="utf-8")
    assert read_audit(path).verdict is Verdict.FAIL
    no_gate(report)
    path.write_text(json.dumps(report), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="fails by the predictions per image, but no gate says so"):
        read_audit(path)


def no_gate(report: dict[str, Any]) -> None:
    report["gates"] = [gate for gate in report["gates"] if gate["rule"] != RULE]


def another_figure(report: dict[str, Any]) -> None:
    report["sets"][0]["subgroups"][0]["accuracy"]["drop"]["lost"] += 1


def no_column(report: dict[str, Any]) -> None:
    report["subgroups"] = report["subgroups"][:1]


def refuse_edits(path: Path, written: str) -> None:
    for edit in (no_gate, another_figure, no_column):
        report = json.loads(written)
        edit(report)
        path.write_text(json.dumps(report), encoding="utf-8")
        with pytest.raises(InvalidInputError, match="does not match"):
            read_audit(path)


def test_a_policy_that_names_a_column_which_the_sets_lack_is_refused(planted: Any) -> None:
    with pytest.raises(InvalidInputError, match="no column of subgroups 'sites'; did you mean 'site'"):
        audit_engine(planted.engine, policy=Policy(subgroups=("sites",)))


def test_sets_without_subgroups_have_no_table(tmp_path: Path, lab: SimpleNamespace, opened: list[Any]) -> None:
    result = audit_engine(lab.plant(tmp_path / "run").engine, small_probe=False)
    assert result.subgroups == ()
    assert not any(gate.rule == RULE for gate in result.gates)
    assert 'id="subgroups"' not in html.render(result, pictures=False)
    assert "subgroups:" not in markdown.render(result) + terminal.render(result)
