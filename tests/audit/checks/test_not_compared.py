from __future__ import annotations

from linear_run import change_inputs, change_set

from skinaudit.audit.checks import Evidence
from skinaudit.audit.checks.not_compared import check

DAMAGES = {"compared with nothing": lambda honest: change_set(honest, 1, drop=None)}


def test_a_foreign_engine_is_compared_with_nothing_anyway(honest: Evidence) -> None:
    assert list(check(change_inputs(DAMAGES["compared with nothing"](honest), manifest=None))) == []
