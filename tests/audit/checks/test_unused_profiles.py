from __future__ import annotations

from dataclasses import replace

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.unused_profiles import check

DAMAGES = {"a profile that is never run": lambda honest: replace(honest, engine=replace(honest.engine, unused=1))}


def test_what_was_not_run_forbids_pass(honest: Evidence) -> None:
    assert [finding.severity for finding in check(DAMAGES["a profile that is never run"](honest))] == [Severity.INCONCLUSIVE]
