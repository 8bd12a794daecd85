from __future__ import annotations

from dataclasses import replace

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.odd_frames import check

DAMAGES = {"black": lambda honest: replace(honest, consistency=replace(honest.consistency, odd=("black",)))}


def test_no_answer_fails(honest: Evidence) -> None:
    (finding,) = check(DAMAGES["black"](honest))
    assert finding.severity is Severity.FAIL
    assert "an input that is black" in finding.text
