from __future__ import annotations

from dataclasses import replace

import pytest
from linear_run import change_inputs, change_set

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.weaker_attack import check


def beside(honest: Evidence, accuracy: float, **changes: object) -> Evidence:
    """The evidence with a further set, on which the source has this accuracy; it has 60% on the first one."""
    (attacked,) = honest.attacked
    further = replace(attacked, title="autoattack linf 2/255", attack="autoattack", settings={"steps": 100}, **changes)  # type: ignore[arg-type]
    pgd = replace(attacked, settings={"steps": 40})
    inputs = honest.inputs
    twice = change_inputs(honest, adversarial=inputs.adversarial * 2, spent=inputs.spent * 2)
    both = replace(twice, sets=(honest.clean, pgd, further))
    return change_set(change_set(both, 1, source_accuracy=0.6), 2, source_accuracy=accuracy)


DAMAGES = {"3 points": lambda honest: beside(honest, 0.57)}


def test_the_weaker_one_of_two_attacks_is_named_with_the_gap(honest: Evidence) -> None:
    (finding,) = check(DAMAGES["3 points"](honest))
    assert (finding.severity, finding.set) == (Severity.WARNING, honest.sets[1].title)
    assert finding.text == "PGD-40 leaves the source 60.0%, AUTOATTACK-100 only 57.0%: 3.0 points less"


def test_a_gap_within_the_margin_is_a_note(honest: Evidence) -> None:
    assert [finding.severity for finding in check(beside(honest, 0.593))] == [Severity.NOTE]


@pytest.mark.parametrize("changes", [{"eps": "8/255"}, {"norm": "l2"}, {"white_box": False}])
def test_another_threat_model_or_another_source_is_no_rival(honest: Evidence, changes: dict[str, object]) -> None:
    assert list(check(beside(honest, 0.57, **changes))) == []


def test_nothing_is_said_of_one_step_or_of_equal_attacks(honest: Evidence) -> None:
    assert list(check(beside(honest, 0.598))) == []
    pgd_is_stronger = beside(honest, 0.7)
    (finding,) = check(pgd_is_stronger)
    assert finding.set == "autoattack linf 2/255"
    one_step = (*pgd_is_stronger.sets[:2], replace(pgd_is_stronger.sets[2], attack="fgsm"))
    assert list(check(replace(pgd_is_stronger, sets=one_step))) == []
