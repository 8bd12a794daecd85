from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.artifacts.contract import CLASSES
from skinaudit.audit.comparison import Comparison, compare
from skinaudit.audit.policy import Policy
from skinaudit.audit.result import Control, Finding, Judgement, SetResult, Severity, Verdict
from skinaudit.audit.statistics import Interval, PairedDrop
from skinaudit.audit.verdict import conclude, execution, exit_code, judge_drop, judge_set, precision, sanity
from skinaudit.errors import InvalidInputError

LABELS = np.arange(1400) % 7
PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def compared(
    engine: NDArray[np.int64],
    source: NDArray[np.int64] | None,
    labels: NDArray[np.int64] = LABELS,
    *,
    attacked: bool = False,
) -> Comparison:
    return compare(
        engine,
        source,
        engine_clean=labels if attacked else None,
        labels=labels,
        groups=np.arange(len(labels)),
        classes=CLASSES,
        confidence=0.95,
    )


def entry(comparison: Comparison, *, clean: bool = False, white_box: bool = True, policy: Policy | None = None) -> SetResult:
    title = "clean" if clean else "pgd linf 2/255"
    judgement, _ = judge_set(title, comparison, policy or Policy())
    return SetResult(title, title, "x", clean, white_box, "", title, Control(False, ""), comparison, judgement, 1.0)


def drop(low: float, high: float, *, images: int = 1000, value: float | None = None) -> PairedDrop:
    value = (low + high) / 2 if value is None else value
    return PairedDrop(images, 10, 5, value, Interval(low, high), 0.95, 1.0, 1.0)


@pytest.mark.parametrize(
    ("low", "high", "images", "expected"),
    [
        (-0.002, 0.009, 1000, PASS),
        (-0.05, -0.02, 1000, PASS),
        (0.011, 0.03, 1000, FAIL),
        (0.011, 0.03, 20, FAIL),
        (-0.002, 0.02, 1000, INCONCLUSIVE),
        (-0.002, 0.01, 1000, INCONCLUSIVE),
        (0.01, 0.02, 1000, INCONCLUSIVE),
        (-0.002, 0.009, 99, INCONCLUSIVE),
        (math.nan, math.nan, 1000, INCONCLUSIVE),
        (-0.002, math.nan, 1000, INCONCLUSIVE),
        (math.nan, 0.009, 99, INCONCLUSIVE),
    ],
)
def test_a_set_is_judged_by_its_bounds(low: float, high: float, images: int, expected: Verdict) -> None:
    assert judge_drop(drop(low, high, images=images), Policy()).verdict is expected


def test_an_undecided_set_says_how_many_images_would_decide() -> None:
    judgement, findings = judge_set("clean", compared(LABELS[:140].copy(), LABELS[:140], LABELS[:140]), Policy())
    assert judgement == Judgement(INCONCLUSIVE, 381)
    assert [one.text for one in findings] == ["cannot exclude a drop above 1.0 points; about 390 images would decide"]


def test_the_same_answers_pass() -> None:
    clean, attacked = entry(compared(LABELS, LABELS), clean=True), entry(compared(LABELS, LABELS, attacked=True))
    findings = sanity(clean, [attacked])
    assert findings == []
    assert conclude([clean, attacked], findings, Policy())[0] is PASS


OK = compared(LABELS, LABELS)
WORSE = compared(np.where(np.arange(1400) < 100, 1, LABELS), LABELS)


@pytest.mark.parametrize(
    ("sets", "findings", "expected", "reason"),
    [
        ([], [], INCONCLUSIVE, "no set was compared"),
        ([entry(OK, clean=True)], [], INCONCLUSIVE, "no white-box adversarial set"),
        ([entry(OK)], [], INCONCLUSIVE, "no clean set"),
        ([entry(OK, clean=True), entry(OK, white_box=False)], [], INCONCLUSIVE, "no white-box adversarial set"),
        ([entry(OK, clean=True), replace(entry(OK), judgement=None)], [], INCONCLUSIVE, "no white-box adversarial set"),
        ([replace(entry(OK, clean=True), judgement=None), entry(OK)], [], INCONCLUSIVE, "no clean set"),
        ([entry(OK, clean=True), replace(entry(OK), judgement=Judgement(INCONCLUSIVE))], [], INCONCLUSIVE, "pgd linf 2/255"),
        ([entry(OK, clean=True), entry(OK), entry(WORSE)], [], FAIL, "pgd linf 2/255"),
        ([entry(OK, clean=True), entry(OK)], [Finding(Severity.FAIL, "control", None, "broken")], FAIL, "broken"),
        (
            [entry(OK, clean=True), entry(OK)],
            [Finding(Severity.INCONCLUSIVE, "control", None, "unsure")],
            INCONCLUSIVE,
            "unsure",
        ),
        (
            [entry(OK, clean=True), entry(WORSE)],
            [Finding(Severity.INCONCLUSIVE, "control", None, "x")],
            FAIL,
            "pgd linf 2/255",
        ),
        (
            [entry(OK, clean=True), entry(OK)],
            [Finding(Severity.WARNING, "control", None, "look")],
            PASS,
            "2 sets hold within 1.0 points",
        ),
        ([entry(OK, clean=True), entry(OK), replace(entry(OK), judgement=None)], [], PASS, "1 not compared"),
    ],
)
def test_pass_has_to_be_earned(sets: list[SetResult], findings: list[Finding], expected: Verdict, reason: str) -> None:
    verdict, text = conclude(sets, findings, Policy())
    assert verdict is expected
    assert reason in text


def test_sets_below_the_minimum_do_not_pass_even_if_judged_so() -> None:
    sets = [replace(entry(OK, clean=True), judgement=Judgement(PASS)), replace(entry(OK), judgement=Judgement(PASS))]
    assert conclude(sets, [], Policy(minimal_images=1401))[0] is INCONCLUSIVE


def test_one_lost_cancer_fails_however_small_the_drop() -> None:
    engine = LABELS.copy()
    engine[0] = 1
    judgement, findings = judge_set("clean", compared(engine, LABELS), Policy())
    assert judgement is not None
    assert judgement.verdict is PASS
    assert [one.severity for one in findings] == [Severity.FAIL]
    assert "1 malignant images that were right are now called benign (limit 0)" in findings[0].text
    assert judge_set("clean", compared(engine, LABELS), Policy(malignant_to_benign=1))[1] == []


def test_lost_sensitivity_fails_even_where_accuracy_is_made_up_elsewhere() -> None:
    source, engine = LABELS.copy(), LABELS.copy()
    melanoma, nevus = np.flatnonzero(LABELS == 0)[:20], np.flatnonzero(LABELS == 1)[:20]
    source[nevus], engine[melanoma] = 2, 2  # to another malignant class, so no cancer is called benign
    judgement, findings = judge_set("clean", compared(engine, source), Policy(margin=3.0))
    assert judgement is not None
    assert judgement.verdict is PASS
    assert ["sensitivity to mel drops by 10.0 points" in one.text for one in findings] == [True]


def test_small_classes_without_a_proven_loss_do_not_decide() -> None:
    engine = LABELS.copy()
    engine[0] = 2
    assert judge_set("clean", compared(engine, LABELS), Policy())[1] == []


@pytest.mark.parametrize("answer", range(7))
@pytest.mark.parametrize("counts", [(90, 570, 44, 28, 96, 10, 12), (1, 5000, 1, 1, 1, 1, 1), (200,) * 7])
def test_a_constant_answer_is_never_sane(answer: int, counts: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(7), counts)
    constant = np.full(len(labels), answer)
    # Even where the source model is as constant, so that no accuracy is lost.
    findings = sanity(entry(compared(constant, constant, labels), clean=True), [])
    assert any(one.severity is Severity.FAIL and "constant answer" in one.text for one in findings)


def test_an_answer_barely_better_than_constant_is_undecided() -> None:
    labels = np.repeat(np.arange(7), 10)
    engine = np.ones(70, np.int64)
    engine[0] = 0
    findings = sanity(entry(compared(engine, engine, labels), clean=True), [])
    assert [one.severity for one in findings] == [Severity.INCONCLUSIVE]
    assert "cannot be told from that of a constant answer, 14.3%" in findings[0].text


def test_an_absent_class_forbids_pass() -> None:
    labels = LABELS[LABELS != 5]
    findings = sanity(entry(compared(labels, labels, labels), clean=True), [])
    assert [(one.severity, one.text[:14]) for one in findings] == [(Severity.INCONCLUSIVE, "no image of df")]


def test_a_single_class_forbids_pass() -> None:
    labels = np.ones(500, np.int64)
    assert {one.severity for one in sanity(entry(compared(labels, labels, labels), clean=True), [])} == {
        Severity.INCONCLUSIVE
    }


def test_a_stale_set_forbids_pass() -> None:
    source = LABELS.copy()
    source[:50] = 3
    stale = entry(compared(LABELS, LABELS, attacked=True))
    findings = sanity(entry(compared(source, source), clean=True), [stale])
    assert [one.severity for one in findings] == [Severity.INCONCLUSIVE]
    assert "the attack does not attack" in findings[0].text


def test_clean_images_under_the_name_of_an_attack_forbid_pass() -> None:
    clean = entry(OK, clean=True)
    findings = sanity(clean, [replace(entry(OK), images_digest=clean.images_digest)])
    assert [(one.severity, one.set) for one in findings] == [(Severity.INCONCLUSIVE, "pgd linf 2/255")]


def test_a_collapsed_model_is_called_not_robust() -> None:
    broken = np.where(np.arange(1400) < 1300, (LABELS + 1) % 7, LABELS)
    findings = sanity(entry(OK, clean=True), [entry(compared(broken, broken, attacked=True))])
    assert [one.severity for one in findings] == [Severity.WARNING]
    assert "not robust in itself" in findings[0].text


def test_a_robust_accuracy_below_a_constant_answers_is_noted_where_the_balanced_one_is_above() -> None:
    """Half of each class right, where one class is more than half of the images."""
    labels = np.where(np.arange(1400) < 800, 1, LABELS)
    half = np.where(np.arange(1400) % 2 == 0, (labels + 1) % 7, labels)
    clean = entry(compared(labels, labels, labels), clean=True)
    findings = sanity(clean, [entry(compared(half, half, labels, attacked=True))])
    assert [one.severity for one in findings] == [Severity.NOTE]
    assert "robust accuracy 50.0%" in findings[0].text


@pytest.mark.parametrize(
    ("asked", "promised", "found", "severities"),
    [
        ("fp16", {"fp16": 28}, {"fp16": 28}, []),
        ("fp16", {"fp16": 27, "fp32": 1}, {"fp16": 27, "fp32": 1}, [Severity.NOTE]),
        ("fp16", {"fp16": 28}, {"fp32": 28}, [Severity.FAIL]),
        ("fp16", {"fp32": 28}, {"fp32": 28}, [Severity.FAIL]),
        ("int8", {"int8": 14, "fp32": 14}, {"int8": 14, "fp32": 14}, [Severity.FAIL]),
        ("fp16", {"fp16": 28}, {"fp16": 27, "fp32": 1}, [Severity.FAIL]),
        ("fp16", {"fp16": 28}, {}, [Severity.INCONCLUSIVE]),
        ("fp16", {}, {"fp16": 28}, [Severity.FAIL]),
    ],
)
def test_precision_is_proved(
    asked: str, promised: dict[str, int], found: dict[str, int], severities: list[Severity]
) -> None:
    assert [one.severity for one in precision(asked, promised, found)] == severities


def test_exit_codes() -> None:
    assert [exit_code(one) for one in (PASS, FAIL, INCONCLUSIVE)] == [0, 1, 3]


@pytest.mark.parametrize(
    "setting",
    [
        {"margin": math.nan},
        {"margin": 0},
        {"margin": math.inf},
        {"class_margin": -1},
        {"confidence": 1.0},
        {"confidence": 0.1},
        {"malignant_to_benign": -1},
        {"minimal_images": 0},
    ],
)
def test_a_policy_that_switches_checks_off_is_refused(setting: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(setting))):
        Policy(**setting)  # type: ignore[arg-type]


def test_a_file_computed_in_another_precision_than_written_is_a_warning() -> None:
    (found,) = execution({"fp16": 28}, {"fp32": 28})
    assert found.severity is Severity.WARNING
    assert "fp16 in 28" in found.text
    assert "fp32 in 28" in found.text
    assert execution({"int8": 27, "fp32": 1}, {"fp32": 1, "int8": 27}) == []
    assert execution({"fp16": 28}, None) == []
