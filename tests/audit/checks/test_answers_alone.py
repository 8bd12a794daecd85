from __future__ import annotations

from dataclasses import replace

from linear_run import change_inputs

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.answers_alone import check


def alone(honest: Evidence) -> Evidence:
    """An engine of another tool, on clean images alone."""
    return replace(change_inputs(honest, manifest=None, adversarial=(), spent=()), sets=honest.sets[:1])


DAMAGES = {"no model and no set to attack": alone}


def test_it_says_what_such_an_audit_shows_and_what_not(honest: Evidence) -> None:
    (finding,) = check(alone(honest))
    assert finding.severity is Severity.WARNING
    assert "is an upper bound of robust accuracy" in finding.text
    assert "How much the export lost is unknown" in finding.text
    assert list(check(change_inputs(honest, manifest=None))) == []
