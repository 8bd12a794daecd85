"""A policy far wider than the default, and a source without robustness, stand in the first lines of every form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from skinaudit.audit import reports
from skinaudit.audit.checks import Finding, Severity
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.judgement.verdict import conclude
from skinaudit.audit.reports.parts.lineup import line_up
from skinaudit.audit.reports.parts.wording import first_lines

WIDE = "the policy is far wider than the default: margin 7.0 (default 1.0)"
ONLY = "agreement only: the source model is not robust"


def wide(result: AuditResult) -> AuditResult:
    policy = Policy(margin=7.0)
    _, reason = conclude(result.sets, result.gates, result.findings, policy)
    return replace(result, policy=policy, reason=f"{reason}; {ONLY}", agreement_only=True)


@pytest.mark.parametrize(
    ("name", "first"), [("terminal", 900), ("markdown", 900), ("junit", 2000), ("sarif", None), ("html", None)]
)
def test_both_are_in_the_first_lines(audits: dict[str, AuditResult], name: str, first: int | None) -> None:
    text = reports.render(name, wide(audits["pass"]))
    head = " ".join((text[:first] if name != "html" else text.split("<header>")[1].split("</header>")[0]).split())
    assert WIDE in head.replace("\\", "")
    assert ONLY in head.replace("\\", "")
    plain = reports.render(name, audits["pass"])
    assert "far wider than the default" not in plain
    assert "agreement only" not in plain.replace("agreement-only", "") or name in ("sarif",)


def test_the_last_line_on_the_terminal_says_it_as_well(audits: dict[str, AuditResult]) -> None:
    last = " ".join(reports.render("terminal", wide(audits["pass"])).split("PASS: ")[-1].split())
    assert WIDE in last
    assert ONLY in last


def test_a_lineup_says_whose_policy_is_wide(audits: dict[str, AuditResult]) -> None:
    lineup = line_up([(Path("a.onnx"), audits["pass"]), (Path("b.onnx"), wide(audits["rare"]))])
    text = " ".join(reports.render("markdown", lineup, "lineup").replace("\\", "").split())
    assert text.count(WIDE) == 1


def test_agreement_only_is_said_once(audits: dict[str, AuditResult]) -> None:
    constant = Finding(Severity.WARNING, "below-constant", None, "less accurate than a constant answer")
    alone = replace(audits["pass"], findings=(constant,))
    agreement = replace(alone, agreement_only=True)
    assert [text.count("agreement only") for text in first_lines(alone)] == [1]
    assert [text.count("agreement only") for text in first_lines(agreement)] == [1, 0]
    bare = Finding(Severity.WARNING, "agreement-only", None, "agreement only: the source is not robust")
    for findings in ([bare], [constant], [bare, constant]):
        _, reason = conclude(alone.sets, alone.gates, findings, alone.policy)
        assert reason.count("agreement only") == 1
