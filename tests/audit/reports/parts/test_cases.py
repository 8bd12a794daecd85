from __future__ import annotations

from dataclasses import replace

import pytest

from skinaudit.audit.checks import Finding, Severity
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.reports.parts.cases import cases

PRIMARY = "malignant-sensitivity"
FORCED = {Severity.FAIL: Verdict.FAIL, Severity.INCONCLUSIVE: Verdict.INCONCLUSIVE}


def test_every_finding_is_in_one_case_and_every_gate_is_one(audits: dict[str, AuditResult]) -> None:
    for result in audits.values():
        all_cases = cases(result)
        assert sorted(map(repr, result.findings)) == sorted(repr(finding) for case in all_cases for finding in case.findings)
        assert len({(case.set, case.name) for case in all_cases}) == len(all_cases)
        for entry in result.sets:
            own = {case.name: case for case in all_cases if case.set == entry.title}
            judgement = result.judgement_of(entry.title)
            if judgement is None:
                assert not {"drop", PRIMARY} & own.keys()
                continue
            assert {"drop", PRIMARY, "class-sensitivity mel", "class-sensitivity bcc"} <= own.keys()
            assert own["drop"].outcome is judgement.verdict


def test_the_worst_case_is_the_verdict(audits: dict[str, AuditResult]) -> None:
    for name, result in audits.items():
        outcomes = {case.outcome for case in cases(result)}
        worst = next((verdict for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE) if verdict in outcomes), Verdict.PASS)
        if name not in ("nothing compared", "foreign"):  # their verdict rests on what is lacking
            assert worst is result.verdict


def test_a_case_says_what_failed_and_for_which_class(audits: dict[str, AuditResult]) -> None:
    by_name = {(case.set, case.name): case for case in cases(audits["melanoma to nevus"])}
    assert by_name["clean", "class-sensitivity mel"].outcome is Verdict.FAIL
    assert "sensitivity to mel: loses" in by_name["clean", "class-sensitivity mel"].text
    assert by_name["clean", "class-sensitivity bcc"].outcome is Verdict.PASS
    assert by_name["clean", "class-sensitivity bcc"].text.endswith("margin 5.0, 100 images, power 73%")
    assert by_name["clean", PRIMARY].outcome is Verdict.FAIL


def test_what_was_not_compared_is_neither_passed_nor_failed(audits: dict[str, AuditResult]) -> None:
    own = [case for case in cases(audits["nothing compared"]) if case.set == "clean"]
    assert [(case.rule, case.outcome) for case in own] == [("not-compared", None)]
    assert own[0].text.startswith("not compared")


@pytest.mark.parametrize("severity", list(Severity))
@pytest.mark.parametrize("title", [None, "clean", "a set that is not there"])
def test_no_finding_is_lost_and_none_that_counts_looks_passed(
    audits: dict[str, AuditResult], severity: Severity, title: str | None
) -> None:
    for rule, lesion_class in (("lineage", None), ("drop", None), ("lineage", "nv"), ("class-sensitivity", "mel")):
        finding = Finding(severity, rule, title, "text", lesion_class)
        result = replace(audits["pass"], findings=(finding, finding))
        (case,) = (case for case in cases(result) if finding in case.findings)
        assert case.findings == (finding, finding)
        if severity in FORCED:
            assert case.outcome is FORCED[severity]
