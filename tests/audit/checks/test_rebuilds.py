from __future__ import annotations

import pytest
from linear_run import change_inputs

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.rebuilds import check


def rebuilt(honest: Evidence, flips: int | None) -> Evidence:
    return change_inputs(honest, parity={"rebuilds": {"builds": 5, "files": 2, "flips": flips, "images": 1000}})


DAMAGES = {"another classifier": lambda honest: rebuilt(honest, 10)}


@pytest.mark.parametrize(
    ("flips", "severity"),
    [(None, Severity.NOTE), (0, Severity.NOTE), (9, Severity.NOTE), (10, Severity.INCONCLUSIVE)],
)
def test_builds_that_differ_by_the_margin_forbid_pass(honest: Evidence, flips: int | None, severity: Severity) -> None:
    assert [finding.severity for finding in check(rebuilt(honest, flips))] == [severity]
