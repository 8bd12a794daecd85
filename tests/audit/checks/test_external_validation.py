from __future__ import annotations

from dataclasses import replace

import pytest
from linear_run import change_set

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.external_validation import check
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS
from skinaudit.audit.figures.external import (
    ACCURACY,
    BALANCED,
    SAME_MALIGNANT,
    Estimate,
    ExternalFigure,
    ExternalResult,
)
from skinaudit.audit.figures.statistics import Interval


def external(honest: Evidence, difference: Interval, name: str = BALANCED, **clean: object) -> Evidence:
    own, external_estimate = Estimate(0.7, Interval(0.65, 0.75), 400), Estimate(0.5, Interval(0.45, 0.55), 400)
    figure = ExternalFigure("clean", name, own, external_estimate, 0.5, 0.2, difference)
    return replace(
        change_set(honest, 0, **clean), external=ExternalResult("hospital-b", "Hospital B", "A", 0.95, (figure,), ())
    )


WORSE = Interval(0.1, 0.3)
LOST = {"engine_accuracy": 0.2, "engine_accuracy_interval": Interval(0.15, 0.25), "majority_share": 0.6}
DAMAGES = {
    "figures that chance does not explain": lambda honest: external(honest, WORSE),
    "a model that is lost": lambda honest: external(honest, WORSE, **LOST),
}


@pytest.mark.parametrize(
    ("difference", "clean", "severities"),
    [
        (Interval(-0.1, 0.3), {}, []),
        (WORSE, {}, [Severity.WARNING]),
        (Interval(-0.1, 0.3), LOST, []),  # another mix of classes alone
        (WORSE, LOST, [Severity.WARNING, Severity.INCONCLUSIVE]),
    ],
)
def test_worse_than_chance_is_told_and_a_lost_model_does_not_pass(
    honest: Evidence, difference: Interval, clean: dict[str, object], severities: list[Severity]
) -> None:
    assert [finding.severity for finding in check(external(honest, difference, **clean))] == severities


@pytest.mark.parametrize("pooled", [WORSE, Interval(-0.1, 0.3)])
def test_malignant_calls_are_told_once_for_each_set(honest: Evidence, pooled: Interval) -> None:
    evidence = external(honest, WORSE, SAME_MALIGNANT)
    assert evidence.external is not None
    (same_mix,) = evidence.external.figures
    figures = (replace(same_mix, figure=MALIGNANT_CALLS, interval=pooled), same_mix)
    (finding,) = check(replace(evidence, external=replace(evidence.external, figures=figures)))
    assert finding.text.startswith(f"{MALIGNANT_CALLS if pooled is WORSE else SAME_MALIGNANT} of the model is 50.0%")


@pytest.mark.parametrize(
    ("name", "malignant", "lost"),
    [
        (BALANCED, 3, True), (SAME_MALIGNANT, 3, True), (MALIGNANT_CALLS, 3, False), (MALIGNANT_CALLS, 1, True),
        (ACCURACY, 3, False),
    ],
)  # fmt: skip
def test_a_model_is_lost_by_figures_that_another_mix_of_classes_does_not_move(
    honest: Evidence, name: str, malignant: int, lost: bool
) -> None:
    kinds = honest.clean.comparison.classes
    classes = tuple(replace(kind, malignant=place < malignant) for place, kind in enumerate(kinds))
    findings = list(check(external(honest, WORSE, name, classes=classes, **LOST)))
    assert any(finding.severity is Severity.INCONCLUSIVE and name in finding.text for finding in findings) is lost
