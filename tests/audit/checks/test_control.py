from __future__ import annotations

from dataclasses import replace

from linear_run import change_inputs

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.control import check
from skinaudit.audit.evidence.reference import Reference
from skinaudit.audit.judgement.policy import Policy

DAMAGES = {"no reference": lambda honest: replace(honest, reference=Reference(None, False, "not run"))}


def test_the_policy_says_whether_a_control_is_required(honest: Evidence) -> None:
    no_reference = DAMAGES["no reference"](honest)
    assert [finding.severity for finding in check(no_reference)] == [Severity.INCONCLUSIVE]
    optional = replace(no_reference, policy=Policy(control="optional"))
    assert [finding.severity for finding in check(optional)] == [Severity.WARNING]
    assert list(check(change_inputs(no_reference, manifest=None))) == []
