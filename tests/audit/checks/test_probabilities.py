from __future__ import annotations

from linear_run import change_inputs, change_set

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.probabilities import check

DAMAGES = {"a softmax": lambda honest: change_set(honest, 0, probabilities=True)}


def test_probabilities_for_logits_fail(honest: Evidence) -> None:
    assert [finding.severity for finding in check(DAMAGES["a softmax"](honest))] == [Severity.FAIL]
    assert list(check(change_inputs(DAMAGES["a softmax"](honest), manifest=None))) == []
