from __future__ import annotations

from linear_run import change_set

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.class_absent import check

DAMAGES = {"no df": lambda honest: change_set(honest, 0, classes_absent=("df",))}


def test_an_absent_class_forbids_pass(honest: Evidence) -> None:
    (finding,) = check(DAMAGES["no df"](honest))
    assert (finding.severity, finding.text[:14]) == (Severity.INCONCLUSIVE, "no image of df")
