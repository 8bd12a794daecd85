from __future__ import annotations

from dataclasses import replace

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.determinism import check

DAMAGES = {"restless": lambda honest: replace(honest, consistency=replace(honest.consistency, repeats=False))}


def test_other_bits_forbid_pass(honest: Evidence) -> None:
    assert [finding.severity for finding in check(DAMAGES["restless"](honest))] == [Severity.INCONCLUSIVE]
