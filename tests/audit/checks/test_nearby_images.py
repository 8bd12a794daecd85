from __future__ import annotations

from dataclasses import replace

import pytest

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.nearby_images import check
from skinaudit.audit.evidence.nearby_images import BETWEEN, STEP, STORED, Difference, NearbyImages


def nearby(stored: float, step: float, between: float, *, flips: int = 0) -> NearbyImages:
    differences = {STORED: Difference(stored, 0), STEP: Difference(step, 0), BETWEEN: Difference(between, flips)}
    return NearbyImages(35, differences, {}, ())


DAMAGES = {
    "off the grid": lambda honest: replace(honest, nearby=nearby(0, 0, 0.3, flips=20)),
    "no answer": lambda honest: replace(honest, nearby=replace(honest.nearby, unanswered=(BETWEEN,))),
}


@pytest.mark.parametrize(
    ("measured", "expected"),
    [(nearby(0, 1e-6, 1e-6), []), (nearby(0.1, 0.3, 0.3), []), (nearby(1e-6, 1e-6, 0.1), [Severity.INCONCLUSIVE]),
     (nearby(1e-6, 0.1, 0.1, flips=9), [Severity.INCONCLUSIVE, Severity.FAIL]),
     (NearbyImages(35, {}, {STEP: Difference(0.1, 1), BETWEEN: Difference(0.05, 1)}, ()), []),
     (NearbyImages(35, {}, {STEP: Difference(0.01, 1), BETWEEN: Difference(0.5, 9)}, ()), [Severity.FAIL])],
)  # fmt: skip
def test_the_measure_is_the_difference_on_stored_images(
    honest: Evidence, measured: NearbyImages, expected: list[Severity]
) -> None:
    assert [finding.severity for finding in check(replace(honest, nearby=measured))] == expected


def test_no_answer_fails(honest: Evidence) -> None:
    (finding,) = check(DAMAGES["no answer"](honest))
    assert finding.severity is Severity.FAIL
    assert finding.text == "gives NaN or infinity for images between the steps"
