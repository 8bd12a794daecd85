from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.statistics import Interval, holm
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.policy import Floor, Policy
from skinaudit.audit.judgement.result import Gate, Judgement, Verdict

LABELS = np.arange(1400) % 7
MALIGNANT = (0, 2, 3)
PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def with_drop(lab: SimpleNamespace, images: int, lost: int, gained: int, interval: Interval | None = None) -> SetResult:
    """A set whose drop is as given; no class has one, so that its gate is the only statistical one."""
    result: SetResult = lab.entry(lab.compared(LABELS, LABELS, LABELS), clean=True)
    assert result.comparison.drop is not None
    drop = replace(result.comparison.drop, images=images, lost=lost, gained=gained, value=(lost - gained) / images)
    drop = replace(drop, interval=interval or drop.interval, bootstrap=interval or drop.bootstrap)
    classes = tuple(replace(item, drop=None) for item in result.comparison.classes)
    return replace(result, comparison=replace(result.comparison, drop=drop, classes=classes))


def named(gates: tuple[Gate, ...], rule: str, subject: str | None = None) -> Gate:
    (matching,) = (gate for gate in gates if gate.rule == rule and subject in (None, gate.subject))
    return matching


@pytest.mark.parametrize(
    ("low", "high", "images", "lost", "expected"),
    [
        (-0.002, 0.009, 1000, 3, PASS),
        (-0.05, -0.02, 1000, 0, PASS),
        (0.011, 0.03, 1000, 30, FAIL),
        (0.03, 0.9, 20, 10, FAIL),
        (-0.002, 0.02, 1000, 9, INCONCLUSIVE),
        (-0.002, 0.01, 1000, 4, INCONCLUSIVE),
        (0.01, 0.02, 1000, 15, INCONCLUSIVE),
        (-0.002, 0.009, 99, 0, INCONCLUSIVE),
        (math.nan, math.nan, 1000, 5, INCONCLUSIVE),
        (-0.002, math.nan, 1000, 5, INCONCLUSIVE),
    ],
)
def test_a_set_is_judged_by_its_bounds(
    lab: SimpleNamespace, low: float, high: float, images: int, lost: int, expected: Verdict
) -> None:
    result = with_drop(lab, images, lost, 0, Interval(low, high))
    assert named(judge([result], [], Policy()), "drop").judgement.verdict is expected


def test_a_bootstrap_above_the_margin_forbids_pass(lab: SimpleNamespace) -> None:
    result = with_drop(lab, 1000, 3, 0, Interval(-0.002, 0.009))
    assert result.comparison.drop is not None
    doubtful = replace(result.comparison.drop, bootstrap=Interval(0.0, 0.012))
    result = replace(result, comparison=replace(result.comparison, drop=doubtful))
    assert named(judge([result], [], Policy()), "drop").judgement.verdict is INCONCLUSIVE


def test_an_undecided_set_says_how_many_images_would_decide(lab: SimpleNamespace) -> None:
    few = LABELS[:140]
    gate = named(judge([lab.entry(lab.compared(few, few, few))], [], Policy()), "drop")
    assert gate.judgement == Judgement(INCONCLUSIVE, 847)


def test_failing_is_corrected_for_all_comparisons_and_passing_is_not(lab: SimpleNamespace) -> None:
    """25 of 1,000 images lost: above a margin of 1.6 points on its own, not among twenty sets."""
    engine = np.where(np.arange(1400) < 35, (LABELS + 1) % 7, LABELS)
    result = lab.entry(lab.compared(engine, LABELS, LABELS))
    result = replace(result, comparison=replace(result.comparison, classes=()))
    policy = Policy(margin=1.6, malignant_to_benign=1400)
    (alone,) = (gate for gate in judge([result], [], policy) if gate.rule == "drop")
    assert alone.interval is not None
    assert alone.interval.low > 0.016
    assert alone.judgement.verdict is FAIL
    many = [gate for gate in judge([result] * 20, [], policy) if gate.rule == "drop"]
    assert {gate.judgement.verdict for gate in many} == {INCONCLUSIVE}
    fine = lab.entry(lab.compared(LABELS, LABELS, LABELS))
    assert {gate.judgement.verdict for gate in judge([fine] * 20, [], policy) if gate.rule == "drop"} == {PASS}


def test_one_lost_cancer_fails_where_the_policy_allows_none(lab: SimpleNamespace) -> None:
    engine = LABELS.copy()
    engine[0] = 1
    result = lab.entry(lab.compared(engine, LABELS, LABELS))
    assert {gate.judgement.verdict for gate in judge([result], [], Policy())} == {PASS}
    gates = judge([result], [], Policy(malignant_to_benign=0))
    assert named(gates, "drop").judgement.verdict is PASS
    assert named(gates, "malignant-to-benign").judgement.verdict is FAIL
    assert named(judge([result], [], Policy(malignant_to_benign=1)), "malignant-to-benign").judgement.verdict is PASS


def test_cancers_that_the_source_calls_another_cancer_are_lost_as_well(lab: SimpleNamespace) -> None:
    """The source calls every melanoma a carcinoma, so no exact class is lost; the engine calls a third of them benign."""
    source = np.where(LABELS == 0, 2, LABELS)
    engine = np.where((LABELS == 0) & (np.arange(1400) % 3 == 0), 1, source)
    result = lab.entry(lab.compared(engine, source, LABELS))
    assert result.comparison.drop.value == 0
    gates = judge([result], [], Policy())
    assert named(gates, "drop").judgement.verdict is PASS
    assert named(gates, "malignant-sensitivity").judgement.verdict is FAIL
    assert named(gates, "turned-benign").judgement.verdict is FAIL
    assert named(judge([result], [], Policy(malignant_to_benign=9)), "malignant-to-benign").value == 67


def test_a_mistake_among_malignant_classes_is_no_loss_of_malignant_called_malignant(lab: SimpleNamespace) -> None:
    engine = np.where(LABELS == 0, 2, LABELS)
    gates = judge([lab.entry(lab.compared(engine, LABELS, LABELS))], [], Policy())
    assert named(gates, "drop").judgement.verdict is FAIL
    assert named(gates, "malignant-sensitivity").judgement.verdict is PASS


@pytest.mark.parametrize(("count", "margin"), [(399, 0.05), (400, 0.025), (600, 0.025)])
def test_many_malignant_images_have_a_smaller_margin(lab: SimpleNamespace, count: int, margin: float) -> None:
    labels = np.concatenate([np.zeros(count, np.int64), np.repeat([1, 4, 5, 6], 100)])
    gates = judge([lab.entry(lab.compared(labels, labels, labels))], [], Policy())
    gate = named(gates, "malignant-sensitivity")
    assert (gate.images, gate.limit, gate.judgement.verdict) == (count, margin, PASS)
    wide = named(judge([lab.entry(lab.compared(labels, labels, labels))], [], Policy(malignant_margin=2.0)), gate.rule)
    assert wide.limit == 0.02


def test_too_few_malignant_images_forbid_a_pass(lab: SimpleNamespace) -> None:
    """A primary endpoint binds whatever its power; the exact classes and the cancers that turned benign do not."""
    labels = np.where(np.isin(LABELS, MALIGNANT) & (np.arange(1400) >= 140), 1, LABELS)
    assert np.isin(labels, MALIGNANT).sum() == 60
    gates = judge([lab.entry(lab.compared(labels, labels, labels))], [], Policy())
    undecided = {gate.rule for gate in gates if gate.judgement.verdict is INCONCLUSIVE and gate.binding}
    assert undecided == {"malignant-sensitivity"}
    always = judge([lab.entry(lab.compared(labels, labels, labels))], [], Policy(prove="always"))
    assert named(always, "turned-benign").binding


@pytest.mark.parametrize(("lost", "expected"), [(0, PASS), (5, PASS), (18, INCONCLUSIVE), (60, FAIL)])
def test_cancers_that_turned_benign_are_bounded_by_their_upper_limit(
    lab: SimpleNamespace, lost: int, expected: Verdict
) -> None:
    """Of 300 that the source calls malignant; as many others are gained, so that their number does not drop."""
    source, engine = LABELS.copy(), LABELS.copy()
    ill = np.flatnonzero(np.isin(LABELS, MALIGNANT))
    source[ill[300:]] = 1
    engine[ill[300:]] = 1
    engine[ill[:lost]], engine[ill[300 : 300 + lost]] = 1, LABELS[ill[300 : 300 + lost]]
    gates = judge([lab.entry(lab.compared(engine, source, LABELS))], [], Policy())
    assert named(gates, "malignant-sensitivity").value == 0
    gate = named(gates, "turned-benign")
    assert (gate.images, gate.value, gate.judgement.verdict) == (300, lost / 300, expected)


@pytest.mark.parametrize(("lost", "binding"), [(0, False), (1, True), (2, True)])
def test_too_few_to_bound_binds_once_an_image_turned_benign(lab: SimpleNamespace, lost: int, binding: bool) -> None:
    """Of 65 that the source calls malignant, of 600."""
    source = np.where(np.isin(LABELS, MALIGNANT), 1, LABELS)
    ill = np.flatnonzero(np.isin(LABELS, MALIGNANT))
    source[ill[:65]] = LABELS[ill[:65]]
    engine = source.copy()
    engine[ill[:lost]], engine[ill[65 : 65 + lost]] = 1, LABELS[ill[65 : 65 + lost]]
    gate = named(judge([lab.entry(lab.compared(engine, source, LABELS))], [], Policy()), "turned-benign")
    assert (gate.images, gate.binding, gate.judgement.verdict) == (65, binding, INCONCLUSIVE)


def test_lost_sensitivity_fails_even_where_accuracy_is_made_up_elsewhere(lab: SimpleNamespace) -> None:
    source, engine = LABELS.copy(), LABELS.copy()
    melanoma, nevus = np.flatnonzero(LABELS == 0)[:40], np.flatnonzero(LABELS == 1)[:40]
    source[nevus], engine[melanoma] = 2, 2  # to another malignant class, so no cancer is called benign
    gates = judge([lab.entry(lab.compared(engine, source, LABELS))], [], Policy(margin=3.0))
    assert named(gates, "drop").judgement.verdict is PASS
    assert named(gates, "class-sensitivity", "mel").judgement.verdict is FAIL
    assert named(gates, "malignant-sensitivity").judgement.verdict is PASS


@pytest.mark.parametrize(("prove", "binding"), [("where possible", False), ("always", True)])
def test_a_malignant_class_of_few_images_binds_only_where_it_is_asked_to(
    lab: SimpleNamespace, prove: Any, binding: bool
) -> None:
    labels = np.concatenate([np.zeros(40, np.int64), LABELS[LABELS != 0]])
    gate = named(
        judge([lab.entry(lab.compared(labels, labels, labels))], [], Policy(prove=prove)), "class-sensitivity", "mel"
    )
    assert (gate.images, gate.judgement.verdict, gate.binding) == (40, INCONCLUSIVE, binding)


@pytest.mark.parametrize(("count", "binding"), [(90, False), (130, True)])
@pytest.mark.parametrize("exchanged", [0, 12])
def test_a_malignant_class_binds_by_the_power_of_its_images_whatever_the_engine_changes(
    lab: SimpleNamespace, count: int, binding: bool, exchanged: int
) -> None:
    """An engine that loses as many melanomas as it gains has less power to pass, and is not released from the gate."""
    labels = np.concatenate([np.zeros(count, np.int64), LABELS[LABELS != 0]])
    source, engine = labels.copy(), labels.copy()
    source[:exchanged], engine[exchanged : 2 * exchanged] = 2, 2
    gate = named(judge([lab.entry(lab.compared(engine, source, labels))], [], Policy()), "class-sensitivity", "mel")
    assert gate.binding is binding
    assert (gate.power or 0.0) < 0.8 or exchanged == 0
    assert gate.judgement.verdict is (INCONCLUSIVE if exchanged else PASS)


def test_a_benign_class_never_holds_a_pass_back(lab: SimpleNamespace) -> None:
    labels = np.concatenate([np.full(5, 5), LABELS[LABELS != 5]])
    gates = judge([lab.entry(lab.compared(labels, labels, labels))], [], Policy(prove="always"))
    assert not named(gates, "class-sensitivity", "df").binding


def test_a_class_has_its_own_margin(lab: SimpleNamespace) -> None:
    result = lab.entry(lab.compared(LABELS, LABELS, LABELS))
    gates = judge([result], [], Policy(class_margins={"mel": 1.0}))
    assert named(gates, "class-sensitivity", "mel").limit == 0.01
    assert named(gates, "class-sensitivity", "bcc").limit == 0.05


@pytest.mark.parametrize("name", ["pgd", "pgd linf 2/255"])
def test_a_set_has_its_own_margin(lab: SimpleNamespace, name: str) -> None:
    result = lab.entry(lab.compared(LABELS, LABELS, LABELS))
    assert named(judge([result], [], Policy(margins={name: 7.0})), "drop").limit == pytest.approx(0.07)


@pytest.mark.parametrize(
    ("figure", "subject", "percent", "expected"),
    [
        ("accuracy", "accuracy", 60.0, PASS),
        ("accuracy", "accuracy", 73.0, INCONCLUSIVE),
        ("accuracy", "accuracy", 80.0, FAIL),
        ("balanced_accuracy", "balanced accuracy", 60.0, PASS),
        ("balanced_accuracy", "balanced accuracy", 80.0, FAIL),
        ("malignant_sensitivity", "malignant sensitivity", 60.0, PASS),
        ("malignant_sensitivity", "malignant sensitivity", 99.9, FAIL),
        ("worst_class_sensitivity", "sensitivity of vasc, the worst", 1.0, INCONCLUSIVE),
        ("worst_class_sensitivity", "sensitivity of vasc, the worst", 30.0, FAIL),
    ],
)
def test_floors(lab: SimpleNamespace, figure: str, subject: str, percent: float, expected: Verdict) -> None:
    """vasc is never right, nv always, the others but for every sixth image: 73.6%."""
    engine = np.where((LABELS == 6) | (np.arange(1400) // 7 % 6 == 0), 1, LABELS)
    result = lab.entry(lab.compared(engine, engine, LABELS))
    gates = judge([result], [], Policy(floors={"pgd": Floor(**{figure: percent})}))
    gate = named(gates, "floor")
    assert gate.subject == subject
    assert gate.judgement.verdict is expected


def test_a_floor_of_balanced_accuracy_allows_for_classes_of_a_few_images(lab: SimpleNamespace) -> None:
    """Three classes of four images have no room above their interval, two lie low by chance: 70% may still be 89.5%."""
    labels = np.repeat(np.arange(5), 4)
    engine = np.where((labels < 3) | (np.arange(20) % 4 == 0), labels, 5)
    result = lab.entry(lab.compared(engine, engine, labels))
    gate = named(judge([result], [], Policy(floors={"pgd": Floor(balanced_accuracy=89.5)})), "floor")
    assert (gate.value, gate.judgement.verdict) == (pytest.approx(0.7), INCONCLUSIVE)


def test_a_worst_class_above_its_floor_passes(lab: SimpleNamespace) -> None:
    result = lab.entry(lab.compared(LABELS, LABELS, LABELS))
    gates = judge([result], [], Policy(floors={"pgd": Floor(worst_class_sensitivity=90.0)}))
    assert named(gates, "floor").judgement.verdict is PASS


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert min(adjusted) == pytest.approx(min(1.0, len(p_values) * min(p_values)))
    ranked = sorted(range(len(p_values)), key=lambda index: p_values[index])
    assert all(adjusted[lower] <= adjusted[higher] for lower, higher in pairwise(ranked))


def test_holm_of_a_published_example() -> None:
    """Holm 1979 as in R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm"): 0.03, 0.06, 0.06, 0.02."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_a_drop_of_another_model_has_no_gate(lab: SimpleNamespace) -> None:
    assert judge([lab.entry(lab.compared(LABELS, None, LABELS))], [], Policy()) == ()
