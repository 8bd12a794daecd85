from __future__ import annotations

from dataclasses import replace

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.conditions import check

DAMAGES = {"a trigger": lambda honest: replace(honest, added_conditions=("Greater", "Where"))}


def test_every_operator_is_named(honest: Evidence) -> None:
    (finding,) = check(DAMAGES["a trigger"](honest))
    assert finding.severity is Severity.INCONCLUSIVE
    assert "the graph has Greater, Where" in finding.text
