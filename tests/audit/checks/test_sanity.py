from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skinaudit.audit.checks.sanity import answers, consistency, execution, fidelity, figures, masking, precision, rebuilds
from skinaudit.audit.evidence.consistency import Consistency
from skinaudit.audit.figures.drift import measure_drift
from skinaudit.audit.figures.statistics import Interval, paired_drop
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import ProbeResult, Rebuilds, SetResult, Severity

LABELS = np.arange(1400) % 7


@pytest.mark.parametrize("answer", range(7))
@pytest.mark.parametrize("counts", [(90, 570, 44, 28, 96, 10, 12), (1, 5000, 1, 1, 1, 1, 1), (200,) * 7])
def test_a_constant_answer_is_never_sane(lab: SimpleNamespace, answer: int, counts: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(7), counts)
    constant = np.full(len(labels), answer)
    # Even where the source model is as constant, so that no accuracy is lost.
    findings = figures(lab.entry(lab.compared(constant, constant, labels), clean=True), [])
    assert any(one.severity is Severity.FAIL and "constant answer" in one.text for one in findings)


def test_an_answer_barely_better_than_constant_is_undecided(lab: SimpleNamespace) -> None:
    labels = np.repeat(np.arange(7), 10)
    engine = np.ones(70, np.int64)
    engine[0] = 0
    findings = figures(lab.entry(lab.compared(engine, engine, labels), clean=True), [])
    assert [one.severity for one in findings] == [Severity.INCONCLUSIVE]
    assert "cannot be told from that of a constant answer, 14.3%" in findings[0].text


def test_an_absent_class_forbids_pass(lab: SimpleNamespace) -> None:
    labels = LABELS[LABELS != 5]
    findings = figures(lab.entry(lab.compared(labels, labels, labels), clean=True), [])
    assert [(one.severity, one.text[:14]) for one in findings] == [(Severity.INCONCLUSIVE, "no image of df")]


def test_a_single_class_forbids_pass(lab: SimpleNamespace) -> None:
    labels = np.ones(500, np.int64)
    assert {one.severity for one in figures(lab.entry(lab.compared(labels, labels, labels), clean=True), [])} == {
        Severity.INCONCLUSIVE
    }


def test_a_stale_set_forbids_pass(lab: SimpleNamespace) -> None:
    source = LABELS.copy()
    source[:50] = 3
    stale = lab.entry(lab.compared(LABELS, LABELS, LABELS, attacked=True))
    findings = figures(lab.entry(lab.compared(source, source, LABELS), clean=True), [stale])
    assert [one.severity for one in findings] == [Severity.INCONCLUSIVE]
    assert "the attack does not attack" in findings[0].text


def test_clean_images_under_the_name_of_an_attack_forbid_pass(lab: SimpleNamespace) -> None:
    clean = lab.entry(lab.compared(LABELS, LABELS, LABELS), clean=True)
    findings = figures(clean, [replace(lab.entry(lab.compared(LABELS, LABELS, LABELS)), images_digest=clean.images_digest)])
    assert [(one.severity, one.set) for one in findings] == [(Severity.INCONCLUSIVE, "pgd linf 2/255")]


def test_a_collapsed_model_is_called_not_robust(lab: SimpleNamespace) -> None:
    broken = np.where(np.arange(1400) < 1300, (LABELS + 1) % 7, LABELS)
    broken_set = lab.entry(lab.compared(broken, broken, LABELS, attacked=True))
    findings = figures(lab.entry(lab.compared(LABELS, LABELS, LABELS), clean=True), [broken_set])
    assert [one.severity for one in findings] == [Severity.WARNING]
    assert "not robust in itself" in findings[0].text


def test_a_robust_accuracy_below_a_constant_answers_is_noted_where_the_balanced_one_is_above(lab: SimpleNamespace) -> None:
    """Half of each class right, where one class is more than half of the images."""
    labels = np.where(np.arange(1400) < 800, 1, LABELS)
    half = np.where(np.arange(1400) % 2 == 0, (labels + 1) % 7, labels)
    clean = lab.entry(lab.compared(labels, labels, labels), clean=True)
    findings = figures(clean, [lab.entry(lab.compared(half, half, labels, attacked=True))])
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


STEADY = Consistency(35, (1, 7, 64), True, True, 0.0, 0, ())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"repeats": False}, [(Severity.INCONCLUSIVE, "determinism")]),
        ({"identical": False, "largest": 1e-4}, [(Severity.NOTE, "batch-dependence")]),
        ({"identical": False, "largest": 1e-3, "flips": 1}, [(Severity.WARNING, "batch-dependence")]),
        ({"identical": False, "largest": 0.1, "flips": 9}, [(Severity.FAIL, "batch-dependence")]),
        ({"odd": ("black",)}, [(Severity.FAIL, "odd-frames")]),
    ],
)
def test_an_answer_that_hangs_on_its_batch(change: dict[str, Any], expected: list[tuple[Severity, str]]) -> None:
    assert [(one.severity, one.rule) for one in consistency(replace(STEADY, **change))] == expected


def drifted(lab: SimpleNamespace, noise: float) -> SetResult:
    """A set whose logit margins are 1 and whose leads move by about `noise`."""
    source = np.eye(7, dtype=np.float32)[LABELS]
    moved = source + np.random.default_rng(0).normal(0, noise, source.shape).astype(np.float32)
    drift = measure_drift(source, moved, labels=LABELS, groups=np.arange(1400), classes=tuple("abcdefg"))
    return replace(lab.entry(lab.compared(LABELS, LABELS, LABELS)), drift=drift)


@pytest.mark.parametrize(
    ("asked", "noise", "odd"),
    [("fp32", 1e-5, False), ("fp32", 1e-2, True), ("fp16", 1e-2, False), ("fp16", 0.1, True), ("int8", 0.1, False),
     ("int8", 1.0, True)],
)  # fmt: skip
def test_logits_further_away_than_the_precision_explains(lab: SimpleNamespace, asked: str, noise: float, odd: bool) -> None:
    found = fidelity(drifted(lab, noise), asked)
    assert [(one.severity, one.rule) for one in found] == [(Severity.INCONCLUSIVE, "fidelity")] * odd


def test_probabilities_for_logits_fail(lab: SimpleNamespace) -> None:
    one = lab.entry(lab.compared(LABELS, LABELS, LABELS), clean=True)
    assert answers(one) == []
    assert [found.severity for found in answers(replace(one, probabilities=True))] == [Severity.FAIL]


def gained(lab: SimpleNamespace, images: int) -> SetResult:
    """Under attack the source loses `images` more than the engine."""
    source = np.where(np.arange(1400) < images, (LABELS + 1) % 7, LABELS)
    one: SetResult = lab.entry(lab.compared(LABELS, source, LABELS, attacked=True))
    return one


def probed(*, replay: int, fresh: int, reference: int) -> ProbeResult:
    """Right images of 400 by replay, under a fresh attack, and those of the reference under the same."""

    def right(count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.arange(400) < count

    groups = np.arange(400)
    return ProbeResult(
        name="square", title="probe square linf 2/255", norm="linf", eps="2/255", settings={"queries": 9}, seed=0,
        images=400, queries=3600, seconds=1.0, clean_accuracy=1.0, replay_accuracy=replay / 400,
        fresh_accuracy=fresh / 400, fresh_interval=Interval(0, 1), worst_accuracy=min(replay, fresh) / 400,
        reference_accuracy=reference / 400, drop=paired_drop(right(reference), right(fresh), groups),
        masking=paired_drop(right(replay), right(fresh), groups),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("images", "probe", "expected"),
    [
        (0, None, []),
        (3, None, []),
        (10, None, [Severity.WARNING]),
        (60, None, [Severity.INCONCLUSIVE]),
        (60, probed(replay=300, fresh=300, reference=300), [Severity.WARNING]),
        (60, probed(replay=300, fresh=320, reference=320), [Severity.INCONCLUSIVE]),
        (60, probed(replay=300, fresh=320, reference=390), [Severity.INCONCLUSIVE]),
        (0, probed(replay=300, fresh=260, reference=260), [Severity.INCONCLUSIVE]),
    ],
)
def test_masked_gradients(lab: SimpleNamespace, images: int, probe: ProbeResult | None, expected: list[Severity]) -> None:
    """A gain under replay is doubtful, beyond the margin it forbids PASS until a passed probe that is as strong settles it;
    and a fresh attack that finds more than the stored images forbids PASS by itself."""
    sets, probes = [gained(lab, images)], [probe] if probe else []
    found = masking(sets, probes, judge(sets, probes, Policy()), Policy())
    assert [one.severity for one in found] == expected
    assert {one.rule for one in found} <= {"masking"}


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        (None, Severity.INCONCLUSIVE),
        (probed(replay=300, fresh=320, reference=320), Severity.INCONCLUSIVE),
        (probed(replay=300, fresh=300, reference=300), Severity.WARNING),
    ],
)
def test_any_gain_over_the_source_has_to_be_settled_on_own_sets(
    lab: SimpleNamespace, probe: ProbeResult | None, expected: Severity
) -> None:
    sets, probes = [gained(lab, 10)], [probe] if probe else []
    (found,) = masking(sets, probes, judge(sets, probes, Policy()), Policy(), own=[sets[0].title])
    assert found.severity is expected


def test_a_file_computed_in_another_precision_than_written_is_a_warning() -> None:
    (found,) = execution({"fp16": 28}, {"fp32": 28})
    assert found.severity is Severity.WARNING
    assert "fp16 in 28" in found.text
    assert "fp32 in 28" in found.text
    assert execution({"int8": 27, "fp32": 1}, {"fp32": 1, "int8": 27}) == []
    assert execution({"fp16": 28}, None) == []


@pytest.mark.parametrize(("flips", "severity"), [(0, Severity.NOTE), (9, Severity.NOTE), (10, Severity.INCONCLUSIVE)])
def test_builds_that_differ_by_the_margin_forbid_pass(flips: int, severity: Severity) -> None:
    (found,) = rebuilds(Rebuilds(5, 2, flips, 1000), Policy())
    assert found.severity is severity
    assert rebuilds(None, Policy()) == []
    (found,) = rebuilds(Rebuilds(5, 2, None, 1000), Policy())
    assert found.severity is Severity.NOTE
