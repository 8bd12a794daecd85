from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from skinaudit.audit.checks import Severity
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.subgroups import columns_of, subgroup_results
from skinaudit.audit.judgement.gate_findings import gate_findings
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.loosened import loosened
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Gate, Verdict
from skinaudit.audit.judgement.subgroup_gates import RULE, subgroup_gates

LABELS = np.arange(1400) % 7
MALIGNANT = (0, 2, 3)
SITES = tuple(("back", "face", "foot", "hand", "trunk")[index // 7 % 5] for index in range(1400))
ON_BACK = np.array([site == "back" for site in SITES])
PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def one_set(lab: SimpleNamespace, engine: NDArray[np.int64], sites: Sequence[str] = SITES) -> SetResult:
    entry: SetResult = lab.entry(lab.compared(engine, LABELS, LABELS), clean=True)
    subgroups = subgroup_results(
        engine, LABELS, columns_of({"site": tuple(sites)}), labels=LABELS, groups=np.arange(len(LABELS)),
        malignant=MALIGNANT, confidence=0.95,
    )  # fmt: skip
    return replace(entry, subgroups=subgroups)


def wrong_on(rows: NDArray[np.bool_], share: float) -> NDArray[np.int64]:
    """Answers that are wrong on a share of some images, one class beside the right one."""
    some = np.flatnonzero(rows)
    engine = LABELS.copy()
    engine[some[: round(share * len(some))]] = (LABELS[some[: round(share * len(some))]] + 1) % 7
    return engine


def gates_of(sets: Sequence[SetResult], policy: Policy | None = None) -> list[Gate]:
    return list(subgroup_gates(sets, policy or Policy()))


def test_a_subgroup_that_loses_clearly_more_than_the_whole_fails(lab: SimpleNamespace) -> None:
    gates = gates_of([one_set(lab, wrong_on(ON_BACK, 0.3))])
    failed = [gate for gate in gates if gate.judgement.verdict is FAIL]
    assert [gate.subject for gate in failed] == ["accuracy, site back", "malignant called malignant, site back"]
    assert failed[0].images == 280
    assert abs(failed[0].limit - (0.06 + 0.05)) < 1e-9  # what the whole set loses, and the margin
    finding, _ = gate_findings(gates, Policy(), malignant=())
    assert finding.severity is Severity.FAIL
    assert "site back: 280 images lose 30.0 points" in finding.text


def test_a_loss_that_all_subgroups_share_is_none_of_a_subgroup(lab: SimpleNamespace) -> None:
    gates = gates_of([one_set(lab, wrong_on(np.arange(1400) % 10 < 3, 1.0))])
    assert FAIL not in {gate.judgement.verdict for gate in gates}


def test_an_equal_engine_passes_where_there_are_enough_images_and_is_never_held_back(lab: SimpleNamespace) -> None:
    gates = gates_of([one_set(lab, LABELS)])
    assert [gate.judgement.verdict for gate in gates] == [PASS, PASS]
    few = gates_of([one_set(lab, LABELS, [*("back",) * 40, *SITES[40:]])], Policy(subgroup_margin=1.0))
    assert {gate.judgement.verdict for gate in few} == {INCONCLUSIVE}
    assert not any(gate.binding for gate in few)
    assert gate_findings(few, Policy(), malignant=()) == []


def test_a_small_subgroup_decides_nothing(lab: SimpleNamespace) -> None:
    sites = ["nose" if index < 29 else "back" for index in range(1400)]
    engine = wrong_on(np.arange(1400) < 29, 1.0)
    assert FAIL not in {gate.judgement.verdict for gate in gates_of([one_set(lab, engine, sites)])}
    assert FAIL in {gate.judgement.verdict for gate in gates_of([one_set(lab, engine, sites)], Policy(subgroup_lesions=29))}


def test_the_policy_chooses_columns_and_says_so_where_it_chooses_none(lab: SimpleNamespace) -> None:
    entry = one_set(lab, wrong_on(ON_BACK, 0.3))
    assert gates_of([entry], Policy(subgroups=("site",))) == gates_of([entry])
    assert gates_of([entry], Policy(subgroups=("sex",))) == gates_of([entry], Policy(subgroups=())) == []
    assert "subgroups not judged" in loosened(Policy(subgroups=()))
    assert "subgroup margin 10.0" in loosened(Policy(subgroup_margin=10.0))


def test_losses_are_corrected_for_the_number_of_subgroups(lab: SimpleNamespace) -> None:
    """The same loss fails among five subgroups of one set and not among those of forty sets."""
    entry = one_set(lab, wrong_on(ON_BACK, 0.13))
    assert gates_of([entry])[0].judgement.verdict is FAIL
    assert FAIL not in {gate.judgement.verdict for gate in gates_of([replace(entry, title=str(i)) for i in range(40)])}


def test_the_number_of_subgroups_does_not_weaken_another_gate(lab: SimpleNamespace) -> None:
    entry = one_set(lab, wrong_on(ON_BACK, 0.3))
    without = judge([replace(entry, subgroups=())], [], Policy())
    judged = judge([entry], [], Policy())
    assert judged[: len(without)] == without
    assert [gate.rule for gate in judged[len(without) :]] == [RULE, RULE]
