from __future__ import annotations

from dataclasses import replace

import pytest

from skinaudit.audit.cases import cases
from skinaudit.audit.result import AuditResult, Finding, Severity, Verdict

FORCED = {Severity.FAIL: Verdict.FAIL, Severity.INCONCLUSIVE: Verdict.INCONCLUSIVE}


def test_every_finding_is_in_one_gate_and_every_gate_is_there(audits: dict[str, AuditResult]) -> None:
    for result in audits.values():
        found = cases(result)
        assert sorted(map(repr, result.findings)) == sorted(repr(one) for gate in found for one in gate.findings)
        assert len({(gate.set, gate.name) for gate in found}) == len(found)
        for one in result.sets:
            own = {gate.name: gate for gate in found if gate.set == one.title}
            assert {"drop", "malignant-to-benign", "class-sensitivity mel", "class-sensitivity bcc"} <= own.keys()
            judged = None if one.judgement is None else one.judgement.verdict
            assert own["drop"].outcome is judged


def test_the_worst_gate_is_the_verdict(audits: dict[str, AuditResult]) -> None:
    for name, result in audits.items():
        outcomes = {gate.outcome for gate in cases(result)}
        worst = next((one for one in (Verdict.FAIL, Verdict.INCONCLUSIVE) if one in outcomes), Verdict.PASS)
        if name not in ("nothing compared", "foreign"):  # their verdict rests on what is lacking
            assert worst is result.verdict


def test_a_gate_says_what_failed_and_for_which_class(audits: dict[str, AuditResult]) -> None:
    found = {(gate.set, gate.name): gate for gate in cases(audits["melanoma to nevus"])}
    assert found["clean", "class-sensitivity mel"].outcome is Verdict.FAIL
    assert "sensitivity to mel drops by" in found["clean", "class-sensitivity mel"].text
    assert found["clean", "class-sensitivity bcc"].outcome is Verdict.PASS
    assert found["clean", "class-sensitivity bcc"].text.endswith("margin 1.0")
    assert found["clean", "malignant-to-benign"].outcome is Verdict.FAIL


def test_what_was_not_compared_is_neither_passed_nor_failed(audits: dict[str, AuditResult]) -> None:
    for name in ("nothing compared", "foreign"):
        own = [gate for gate in cases(audits[name]) if gate.set == "clean" and gate.rule in ("drop", "class-sensitivity")]
        assert [gate.outcome for gate in own] == [None] * 4
        assert all(gate.text.startswith("not compared") for gate in own)


@pytest.mark.parametrize("severity", list(Severity))
@pytest.mark.parametrize("title", [None, "clean", "a set that is not there"])
def test_no_finding_is_lost_and_none_that_counts_looks_passed(
    audits: dict[str, AuditResult], severity: Severity, title: str | None
) -> None:
    for rule, lesion_class in (("lineage", None), ("drop", None), ("drop", "nv"), ("class-sensitivity", "mel")):
        finding = Finding(severity, rule, title, "text", lesion_class)
        result = replace(audits["pass"], findings=(finding, finding))
        (gate,) = (gate for gate in cases(result) if finding in gate.findings)
        assert gate.findings == (finding, finding)
        if severity in FORCED:
            assert gate.outcome is FORCED[severity]
