from __future__ import annotations

import pytest
from linear_run import change_inputs

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.repeated_images import check

DAMAGES = {"copies": lambda honest: change_inputs(honest, repeated=350)}


@pytest.mark.parametrize(("repeated", "severity"), [(7, Severity.WARNING), (8, Severity.INCONCLUSIVE)])
def test_more_than_a_hundredth_forbids_pass(honest: Evidence, repeated: int, severity: Severity) -> None:
    assert len(honest.inputs.clean) == 700
    (finding,) = check(change_inputs(honest, repeated=repeated))
    assert finding.severity is severity
