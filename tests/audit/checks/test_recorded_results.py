from __future__ import annotations

from linear_run import change_inputs, change_set

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.recorded_results import check

DAMAGES = {"other images": lambda honest: change_inputs(honest, recorded={"pgd": 0.123})}


def test_the_set_is_named(honest: Evidence) -> None:
    (finding,) = check(DAMAGES["other images"](honest))
    assert (finding.severity, finding.set) == (Severity.INCONCLUSIVE, honest.sets[1].title)


def test_what_was_recorded_is_no_finding(honest: Evidence) -> None:
    recorded = {result.name: result.comparison.source_accuracy for result in honest.sets}
    assert list(check(change_inputs(honest, recorded=recorded))) == []
    transfer = change_set(DAMAGES["other images"](honest), 1, white_box=False)
    assert list(check(transfer)) == []
