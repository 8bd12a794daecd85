from __future__ import annotations

from linear_run import change_inputs, change_set

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.plausibility import check


def foreign(honest: Evidence, **figures: object) -> Evidence:
    return change_inputs(change_set(honest, 0, **figures), manifest=None)


DAMAGES = {
    "no better than the majority class": lambda honest: foreign(
        honest, engine_accuracy=honest.clean.comparison.majority_share
    ),
    "one answer for all": lambda honest: foreign(honest, top_answer_share=0.96),
    "another order": lambda honest: foreign(honest, better_order=("b", "a")),
}


def test_every_doubt_forbids_pass_and_says_where_to_look(honest: Evidence) -> None:
    for damage in DAMAGES.values():
        (finding,) = check(damage(honest))
        assert finding.severity is Severity.INCONCLUSIVE
        assert "the order of classes in the contract" in finding.text


def test_an_engine_of_a_manifest_is_not_doubted(honest: Evidence) -> None:
    assert list(check(change_set(honest, 0, top_answer_share=0.96))) == []
    assert list(check(foreign(honest))) == []
