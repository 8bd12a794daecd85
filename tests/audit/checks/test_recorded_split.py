from __future__ import annotations

from typing import Any

import pytest
from linear_run import change_inputs

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.recorded_split import check
from skinaudit.audit.evidence.recorded import Recorded


def recorded(honest: Evidence, **changes: Any) -> Evidence:
    values = {"figures": {}, "differences": (), "own": True, "unlisted": {}, **changes}
    return change_inputs(honest, recorded=Recorded(**values))


DAMAGES = {
    "fewer images": lambda honest: recorded(honest, differences=("381 images instead of 399",)),
    "images of another run": lambda honest: recorded(honest, differences=("381 images instead of 399",), own=False),
    "a changed set": lambda honest: recorded(honest, unlisted={"pgd.safetensors": "is listed with another digest"}),
    "a set of unknown origin": lambda honest: recorded(honest, unlisted={"pgd.safetensors": "is not listed"}),
}


@pytest.mark.parametrize(
    ("damage", "severity"),
    [*zip(DAMAGES, (Severity.INCONCLUSIVE, Severity.WARNING, Severity.INCONCLUSIVE, Severity.WARNING), strict=True)],
)
def test_what_is_said_to_be_the_runs_own_forbids_a_pass(honest: Evidence, damage: str, severity: Severity) -> None:
    assert [finding.severity for finding in check(DAMAGES[damage](honest))] == [severity]


def test_a_foreign_engine_has_no_run(honest: Evidence) -> None:
    assert list(check(change_inputs(honest, recorded=None))) == []
