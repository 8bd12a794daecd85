from __future__ import annotations

from linear_run import change_inputs

from skinaudit.audit.checks import Evidence
from skinaudit.audit.checks.lineage import check

DAMAGES = {"no data": lambda honest: change_inputs(honest, lineage_gaps=("data", "run"))}


def test_every_gap_is_named(honest: Evidence) -> None:
    (finding,) = check(DAMAGES["no data"](honest))
    assert finding.text == "lineage incomplete: no data, run"
