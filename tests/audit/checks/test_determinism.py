from __future__ import annotations

from dataclasses import replace

import pytest

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.determinism import check


def worn(honest: Evidence, *, largest: float, flips: int) -> Evidence:
    later = {"later": 128, "later_changed": 9, "later_largest": largest, "later_flips": flips}
    return replace(honest, consistency=replace(honest.consistency, **later))


DAMAGES = {
    "restless": lambda honest: replace(honest, consistency=replace(honest.consistency, repeats=False)),
    "worn": lambda honest: worn(honest, largest=0.5, flips=9),
}


def test_outputs_of_an_interrupted_audit_are_named(honest: Evidence) -> None:
    assert list(check(honest)) == []
    (finding,) = check(replace(honest, taken_up=("clean", "pgd linf 2/255")))
    assert finding.severity is Severity.NOTE
    assert finding.text.startswith("clean, pgd linf 2/255: outputs of an interrupted audit of the same files are used; ")


def test_other_bits_forbid_pass(honest: Evidence) -> None:
    assert [finding.severity for finding in check(DAMAGES["restless"](honest))] == [Severity.INCONCLUSIVE]


@pytest.mark.parametrize(
    ("largest", "flips", "severity"),
    [(1e-6, 0, Severity.INCONCLUSIVE), (1e-6, 3, Severity.FAIL), (0.5, 0, Severity.FAIL)],
)
def test_answers_that_change_with_use_fail(honest: Evidence, largest: float, flips: int, severity: Severity) -> None:
    assert [finding.severity for finding in check(worn(honest, largest=largest, flips=flips))] == [severity]
