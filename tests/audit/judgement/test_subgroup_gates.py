from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from skinaudit.audit.checks import Severity
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.subgroup_excess import Answers, adjusted_p, with_excess
from skinaudit.audit.figures.subgroups import columns_of, subgroup_results
from skinaudit.audit.judgement.gate_findings import gate_findings
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.loosened import loosened
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Gate, Verdict
from skinaudit.audit.judgement.subgroup_gates import RULE, judged, subgroup_gates

LABELS = np.arange(1400) % 7
MALIGNANT = (0, 2, 3)
SITES = tuple(("back", "face", "foot", "hand", "trunk")[index // 7 % 5] for index in range(1400))
ON_BACK = np.array([site == "back" for site in SITES])
PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def sets_of(
    lab: SimpleNamespace, *engines: NDArray[np.int64], sites: Sequence[str] = SITES, policy: Policy | None = None,
    groups: NDArray[np.int64] | None = None,
) -> list[SetResult]:  # fmt: skip
    """One set for each engine's answers, all of the same images."""
    policy, columns = policy or Policy(), columns_of({"site": tuple(sites)})
    groups = np.arange(len(LABELS)) if groups is None else groups
    results = [
        subgroup_results(
            engine, LABELS, columns, labels=LABELS, groups=groups, malignant=MALIGNANT, confidence=policy.confidence
        )
        for engine in engines
    ]
    subgroups = with_excess(
        results, [Answers(engine, LABELS) for engine in engines], columns, labels=LABELS, groups=groups,
        malignant=MALIGNANT, judged=partial(judged, policy), least=policy.subgroup_lesions,
    )  # fmt: skip
    entries = [lab.entry(lab.compared(engine, LABELS, LABELS), clean=True) for engine in engines]
    return [
        replace(entry, title=str(number), subgroups=own)
        for number, (entry, own) in enumerate(zip(entries, subgroups, strict=True))
    ]


def wrong_on(rows: NDArray[np.bool_], share: float) -> NDArray[np.int64]:
    """Answers that are wrong on a share of some images, one class beside the right one."""
    chosen = np.flatnonzero(rows)
    engine = LABELS.copy()
    engine[chosen[: round(share * len(chosen))]] = (LABELS[chosen[: round(share * len(chosen))]] + 1) % 7
    return engine


def gates_of(sets: Sequence[SetResult], policy: Policy | None = None) -> list[Gate]:
    return list(subgroup_gates(sets, policy or Policy()))


def verdicts(sets: Sequence[SetResult], policy: Policy | None = None) -> set[Verdict]:
    return {gate.judgement.verdict for gate in gates_of(sets, policy)}


def test_a_subgroup_that_loses_clearly_more_than_the_rest_fails(lab: SimpleNamespace) -> None:
    gates = gates_of(sets_of(lab, wrong_on(ON_BACK, 0.3)))
    failed = [gate for gate in gates if gate.judgement.verdict is FAIL]
    assert [gate.subject for gate in failed] == ["accuracy, site back", "malignant called malignant, site back"]
    assert failed[0].images == 280
    assert abs(failed[0].limit - 0.05) < 1e-9  # the rest loses nothing
    finding, _ = gate_findings(gates, Policy(), malignant=())
    assert finding.severity is Severity.FAIL
    assert "site back: 280 images lose 30.0 points, more than the rest" in finding.text


def test_a_loss_of_a_sixth_of_a_subgroup_of_sixty_lesions_fails(lab: SimpleNamespace) -> None:
    """Too little for a test against the loss of the whole set, the margin and a correction by the number of tests."""
    sites = ["nose" if index < 60 else site for index, site in enumerate(SITES)]
    sets = sets_of(lab, *[wrong_on(np.arange(1400) < 60, 1 / 5)] * 3, sites=sites)
    assert {gate.subject for gate in gates_of(sets) if gate.judgement.verdict is FAIL} == {"accuracy, site nose"}


def test_a_difference_that_is_shown_and_small_does_not_fail(lab: SimpleNamespace) -> None:
    (entry,) = sets_of(lab, wrong_on(ON_BACK, 0.045))
    back = next(subgroup for subgroup in entry.subgroups if subgroup.value == "back")
    assert back.accuracy.excess is not None
    assert back.accuracy.excess.p_value < 0.025
    assert FAIL not in verdicts([entry])
    assert FAIL in verdicts([entry], Policy(subgroup_margin=4.0))


def test_a_loss_that_all_subgroups_share_is_none_of_a_subgroup(lab: SimpleNamespace) -> None:
    assert FAIL not in verdicts(sets_of(lab, wrong_on(np.arange(1400) // 35 % 10 < 3, 1.0)))


def test_images_of_one_lesion_are_one_witness(lab: SimpleNamespace) -> None:
    """84 images lost of 84 lesions fail, the same of 4 lesions do not: four signs agree once in sixteen times."""
    wrong, places = wrong_on(ON_BACK, 0.3), np.flatnonzero(ON_BACK)
    groups = np.arange(len(LABELS))
    assert FAIL in verdicts(sets_of(lab, wrong))
    groups[places[:84]] = np.repeat(5000 + np.arange(4), 21)
    assert FAIL not in verdicts(sets_of(lab, wrong, groups=groups, policy=Policy(subgroup_lesions=2)))


def test_an_equal_engine_passes_where_there_are_enough_images_and_is_never_held_back(lab: SimpleNamespace) -> None:
    assert verdicts(sets_of(lab, LABELS)) == {PASS}
    policy = Policy(subgroup_margin=1.0)
    few = gates_of(sets_of(lab, LABELS, sites=[*("back",) * 40, *SITES[40:]], policy=policy), policy)
    assert {gate.judgement.verdict for gate in few} == {INCONCLUSIVE}
    assert not any(gate.binding for gate in few)
    assert gate_findings(few, Policy(), malignant=()) == []


def test_a_small_subgroup_and_a_small_rest_decide_nothing(lab: SimpleNamespace) -> None:
    few = np.arange(1400) < 29
    engine, policy = wrong_on(few, 1.0), Policy(subgroup_lesions=29)
    sites = ["nose" if rare else "back" for rare in few]
    assert gates_of(sets_of(lab, engine, sites=sites)) == []
    failed = [gate for gate in gates_of(sets_of(lab, engine, sites=sites, policy=policy)) if gate.judgement.verdict is FAIL]
    assert [gate.subject for gate in failed] == ["accuracy, site nose"]


def test_the_policy_chooses_columns_and_says_so_where_it_chooses_none(lab: SimpleNamespace) -> None:
    engine = wrong_on(ON_BACK, 0.3)
    own, sex, none = (Policy(subgroups=names) for names in (("site",), ("sex",), ()))
    assert gates_of(sets_of(lab, engine, policy=own), own) == gates_of(sets_of(lab, engine))
    assert gates_of(sets_of(lab, engine, policy=sex), sex) == gates_of(sets_of(lab, engine, policy=none), none) == []
    assert "subgroups not judged" in loosened(none)
    assert "subgroup margin 10.0" in loosened(Policy(subgroup_margin=10.0))


def test_p_values_are_corrected_for_other_witnesses_and_not_for_the_same_ones_again() -> None:
    generator = np.random.default_rng(0)
    losses = np.zeros(400)
    losses[:8] = 1.0
    alone = adjusted_p([losses])[0]
    assert abs(alone - 2.0**-8) < 0.004
    assert adjusted_p([losses] * 40) == (alone,) * 40
    other_losses = [generator.choice([-1.0, 1.0], 400) * (generator.random(400) < 0.1) for _ in range(40)]
    assert adjusted_p([losses, *other_losses])[0] > 3 * alone
    assert adjusted_p([losses, np.zeros(400)]) == (alone, 1.0)


def test_step_by_step_the_second_subgroup_is_compared_with_what_is_left() -> None:
    first, second = np.zeros(40), np.zeros(40)
    first[:12], second[20:26] = 1.0, 1.0
    largest, next_one = adjusted_p([first, second])
    assert largest < next_one
    assert next_one == adjusted_p([second])[0] or abs(next_one - 2.0**-6) < 0.01


def test_the_number_of_subgroups_does_not_weaken_another_gate(lab: SimpleNamespace) -> None:
    (entry,) = sets_of(lab, wrong_on(ON_BACK, 0.3))
    without_subgroups = judge([replace(entry, subgroups=())], [], Policy())
    judged_all = judge([entry], [], Policy())
    assert judged_all[: len(without_subgroups)] == without_subgroups
    assert [gate.rule for gate in judged_all[len(without_subgroups) :]] == [RULE, RULE]
