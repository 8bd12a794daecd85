from __future__ import annotations

from typing import Any

from linear_run import change_inputs, change_set

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.recorded_results import check
from skinaudit.audit.evidence.recorded import Recorded


def recorded(honest: Evidence, figures: dict[str, Any]) -> Evidence:
    return change_inputs(honest, recorded=Recorded(figures, (), True, {}))


DAMAGES = {
    "other images": lambda honest: recorded(honest, {"pgd": {"accuracy": 0.123}}),
    "another class": lambda honest: recorded(honest, {"pgd": {"sensitivity_mel": 0.123}}),
}


def test_the_set_is_named(honest: Evidence) -> None:
    for damage in DAMAGES.values():
        (finding,) = check(damage(honest))
        assert (finding.severity, finding.set) == (Severity.INCONCLUSIVE, honest.sets[1].title)


def test_what_was_recorded_is_no_finding(honest: Evidence) -> None:
    figures = {
        result.name: {"accuracy": result.comparison.source_accuracy, "balanced_accuracy": result.comparison.source_balanced}
        for result in honest.sets
    }
    assert list(check(recorded(honest, figures))) == []
    transfer = change_set(DAMAGES["other images"](honest), 1, white_box=False)
    assert list(check(transfer)) == []
