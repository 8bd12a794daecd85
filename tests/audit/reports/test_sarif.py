from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator, FormatChecker

from skinaudit.audit.checks import Finding, Severity
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.judgement.rules import RULES
from skinaudit.audit.judgement.verdict import exit_code
from skinaudit.audit.reports.sarif import render

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "data" / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8"))
VALIDATOR = Draft4Validator(SCHEMA, format_checker=FormatChecker())


def run(result: AuditResult) -> dict[str, Any]:
    (only,) = json.loads(render(result))["runs"]
    return dict(only)


def test_it_is_sarif(audits: dict[str, AuditResult]) -> None:
    for result in audits.values():
        VALIDATOR.validate(json.loads(render(result)))
    assert not VALIDATOR.is_valid({**json.loads(render(audits["rare"])), "version": "2.0.0"})


def test_every_finding_is_a_result_of_its_rule(audits: dict[str, AuditResult]) -> None:
    for result in audits.values():
        listed, rules = run(result)["results"], run(result)["tool"]["driver"]["rules"]
        assert [rule["id"] for rule in rules] == list(RULES)
        assert all(rule["help"]["text"] for rule in rules)
        of_findings = [entry for entry in listed if entry["ruleId"] != "verdict"]
        assert [entry["ruleId"] for entry in of_findings] == [finding.rule for finding in result.findings]
        for entry, finding in zip(of_findings, result.findings, strict=True):
            assert rules[entry["ruleIndex"]]["id"] == entry["ruleId"]
            assert entry["message"]["text"].endswith(finding.text)


def test_there_is_an_error_unless_the_audit_passed(audits: dict[str, AuditResult]) -> None:
    for result in audits.values():
        errors = [entry for entry in run(result)["results"] if entry["level"] == "error"]
        assert bool(errors) is (result.verdict is not Verdict.PASS)
        assert run(result)["invocations"][0]["exitCode"] == exit_code(result.verdict)
    lacking = replace(audits["pass"], findings=(), verdict=Verdict.INCONCLUSIVE, reason="no white-box set")
    (only,) = run(lacking)["results"]
    assert (only["ruleId"], only["message"]["text"]) == ("verdict", "INCONCLUSIVE: no white-box set")


def test_levels_and_fingerprints(audits: dict[str, AuditResult]) -> None:
    findings = tuple(Finding(severity, "drop", "clean", "text") for severity in Severity)
    listed = run(replace(audits["pass"], findings=findings))["results"]
    assert [entry["level"] for entry in listed] == ["error", "error", "warning", "note"]
    results = run(audits["melanoma to nevus"])["results"]
    marks = [result["partialFingerprints"]["primaryLocationLineHash"] for result in results]
    assert len(set(marks)) == len(results) >= 4
    reordered = replace(audits["melanoma to nevus"], findings=audits["melanoma to nevus"].findings[::-1])
    assert marks[::-1] == [entry["partialFingerprints"]["primaryLocationLineHash"] for entry in run(reordered)["results"]]


@pytest.mark.parametrize(
    ("engine", "uri"), [("/home/me/a b.onnx", "a%20b.onnx"), ("runs/x/engines/fp16.onnx", "runs/x/engines/fp16.onnx")]
)
def test_the_engine_is_named_without_the_folders_of_a_machine(audits: dict[str, AuditResult], engine: str, uri: str) -> None:
    result = replace(audits["rare"], engine=Path(engine))
    places = [entry["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for entry in run(result)["results"]]
    assert set(places) == {uri} == {run(result)["artifacts"][0]["location"]["uri"]}
    assert "/home" not in render(result)
