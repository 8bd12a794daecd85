from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from linear_run import compared, entry
from numpy.typing import NDArray

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.agreement_only import check
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Verdict
from skinaudit.audit.judgement.verdict import conclude

LABELS = np.arange(1400) % 7
WRONG = (LABELS + 1) % 7


def attacked(honest: Evidence, *answers: NDArray[np.int64]) -> Evidence:
    """An engine that answers as its source: rightly when clean, and so under each attack, at a growing eps."""
    clean = entry(compared(LABELS, LABELS, LABELS), clean=True)
    sets = [
        replace(entry(compared(predictions, predictions, LABELS, attacked=True)), title=f"pgd {eps}", eps=f"{eps}/255")
        for eps, predictions in enumerate(answers, start=2)
    ]
    return replace(honest, sets=(clean, *sets))


DAMAGES = {
    "a standard model": lambda honest: attacked(honest, np.where(np.arange(1400) < 1390, WRONG, LABELS)),
    "a constant answer under attack": lambda honest: attacked(honest, np.ones(1400, np.int64)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("choice", "expected"), [("pass", Verdict.PASS), ("inconclusive", Verdict.INCONCLUSIVE)])
def test_the_policy_decides_whether_agreement_alone_may_pass(
    honest: Evidence, damage: str, choice: str, expected: Verdict
) -> None:
    policy = Policy(agreement_only=choice)  # type: ignore[arg-type]
    evidence = replace(DAMAGES[damage](honest), policy=policy)
    findings = list(check(evidence))
    assert [finding.severity for finding in findings] == [
        Severity.WARNING if expected is Verdict.PASS else Severity.INCONCLUSIVE
    ]
    verdict, reason = conclude(evidence.sets, judge(evidence.sets, [], policy), findings, policy)
    assert verdict is expected
    assert reason.count("agreement only") == 1


def test_a_source_that_keeps_something_at_one_eps_is_not_agreement_only(honest: Evidence) -> None:
    evidence = attacked(honest, LABELS, WRONG)
    (note,) = check(evidence)
    assert (note.severity, note.set) == (Severity.NOTE, "pgd 3")
    verdict, reason = conclude(evidence.sets, judge(evidence.sets, [], Policy()), [note], Policy())
    assert verdict is Verdict.PASS
    assert "agreement only" not in reason


def test_the_strongest_attack_of_a_threat_model_decides(honest: Evidence) -> None:
    """A weak attack that leaves much whole says nothing where a stronger one of the same eps leaves nothing."""
    weak, strong = attacked(honest, LABELS, WRONG).sets[1:]
    for sets in ((weak, strong), (strong, weak)):
        same = tuple(replace(attacked_set, eps="2/255") for attacked_set in sets)
        (finding,) = check(replace(honest, sets=(honest.sets[0], *same)))
        assert finding.set is None
