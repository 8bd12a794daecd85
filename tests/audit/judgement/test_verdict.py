from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from skinaudit.artifacts.contract import MALIGNANT
from skinaudit.audit.checks import Finding, Severity
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.judgement.gate_findings import gate_findings
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.loosened import loosened
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Gate, Judgement, Verdict
from skinaudit.audit.judgement.verdict import conclude, exit_code
from skinaudit.errors import InvalidInputError

LABELS = np.arange(1400) % 7
PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def some(lab: SimpleNamespace, kind: str) -> SetResult:
    """A set by what is the matter with it."""
    engine = np.where(np.arange(1400) < 100, 1, LABELS) if kind == "worse" else LABELS
    source = None if kind.endswith("unjudged") else LABELS
    compared = lab.compared(engine, source, LABELS, attacked=not kind.startswith("clean"))
    result: SetResult = lab.entry(compared, clean=kind.startswith("clean"), white_box=kind != "transfer")
    return result


def opened(gate: Gate) -> Gate:
    return replace(gate, judgement=Judgement(INCONCLUSIVE))


def findings_of(gates: Sequence[Gate]) -> list[Finding]:
    return gate_findings(gates, Policy(), malignant=MALIGNANT)


def test_the_same_answers_pass(lab: SimpleNamespace) -> None:
    sets = [some(lab, "clean"), some(lab, "pgd")]
    gates = judge(sets, [], Policy())
    assert findings_of(gates) == []
    assert conclude(sets, gates, [], Policy())[0] is PASS


@pytest.mark.parametrize(
    ("sets", "severity", "expected", "reason"),
    [
        ("", None, INCONCLUSIVE, "no set was compared"),
        ("clean", None, INCONCLUSIVE, "no white-box adversarial set"),
        ("pgd", None, INCONCLUSIVE, "no clean set"),
        ("clean transfer", None, INCONCLUSIVE, "no white-box adversarial set"),
        ("clean unjudged", None, INCONCLUSIVE, "no white-box adversarial set"),
        ("clean-unjudged pgd", None, INCONCLUSIVE, "no clean set"),
        ("clean worse", None, FAIL, "pgd linf 2/255"),
        ("clean pgd", Severity.FAIL, FAIL, "control: told"),
        ("clean pgd", Severity.INCONCLUSIVE, INCONCLUSIVE, "control: told"),
        ("clean worse", Severity.INCONCLUSIVE, FAIL, "pgd linf 2/255"),
        ("clean pgd", Severity.WARNING, PASS, "2 sets are within 1.0 points of the source model; 1 warning"),
    ],
)
def test_pass_has_to_be_earned(
    lab: SimpleNamespace, sets: str, severity: Severity | None, expected: Verdict, reason: str
) -> None:
    findings = [] if severity is None else [Finding(severity, "control", "control", "told")]
    results = [some(lab, kind) for kind in sets.split()]
    verdict, text = conclude(results, judge(results, [], Policy()), findings, Policy())
    assert verdict is expected
    assert reason in text


def test_a_set_that_was_not_compared_is_counted(lab: SimpleNamespace) -> None:
    unjudged = replace(some(lab, "unjudged"), title="pgd linf 4/255")
    sets = [some(lab, "clean"), some(lab, "pgd"), unjudged]
    verdict, text = conclude(sets, judge(sets, [], Policy()), [], Policy())
    assert verdict is PASS
    assert "1 not compared" in text


def test_an_undecided_drop_forbids_pass(lab: SimpleNamespace) -> None:
    sets = [some(lab, "clean"), some(lab, "pgd")]
    gates = [opened(gate) if gate.rule == "drop" and gate.set != "clean" else gate for gate in judge(sets, [], Policy())]
    assert conclude(sets, gates, [], Policy()) == (INCONCLUSIVE, "pgd linf 2/255: see the gates")


@pytest.mark.parametrize(("binding", "expected"), [(True, INCONCLUSIVE), (False, PASS)])
def test_an_open_gate_forbids_pass_where_it_binds(lab: SimpleNamespace, binding: bool, expected: Verdict) -> None:
    gate = Gate("class-sensitivity", "clean", "mel", 0.0, 0.05, None, 1.0, 40, Judgement(INCONCLUSIVE), binding)
    sets = [some(lab, "clean"), some(lab, "pgd")]
    gates = judge(sets, [], Policy())
    assert conclude(sets, [*gates, gate], [], Policy())[0] is expected
    failed = replace(gate, judgement=Judgement(FAIL))
    assert conclude(sets, [*gates, failed], [], Policy())[0] is FAIL


def test_sets_below_the_minimum_do_not_pass_even_if_judged_so(lab: SimpleNamespace) -> None:
    sets = [some(lab, kind) for kind in ("clean", "pgd")]
    gates = judge(sets, [], Policy())
    assert conclude(sets, gates, [], Policy())[0] is PASS
    assert conclude(sets, gates, [], Policy(minimal_images=1401))[0] is INCONCLUSIVE


def test_gates_are_told_in_words(lab: SimpleNamespace) -> None:
    """One melanoma of 40 is called benign, and bcc has too few images to show anything."""
    labels = np.concatenate([np.repeat([0, 2], 40), LABELS[(LABELS != 0) & (LABELS != 2)]])
    engine = labels.copy()
    engine[0] = 1
    policy = Policy(malignant_to_benign=0)
    findings = findings_of(judge([lab.entry(lab.compared(engine, labels, labels))], [], policy))
    assert [(finding.severity, finding.rule, finding.lesion_class) for finding in findings] == [
        (Severity.FAIL, "malignant-to-benign", None),
        (Severity.WARNING, "class-sensitivity", None),
    ]
    assert findings[0].text == "1 malignant image is malignant for the source but benign for the engine (limit 0)"
    assert findings[1].text.startswith(
        "2 malignant classes have too few images to show that their sensitivity drops by less than 5.0 points: "
        "mel (40 images, power "
    )
    assert "), bcc (40 images, power " in findings[1].text


def test_classes_without_power_are_told_in_one_line(lab: SimpleNamespace) -> None:
    labels = np.concatenate([np.repeat([2], 40), LABELS[LABELS != 2]])
    findings = findings_of(judge([lab.entry(lab.compared(labels, labels, labels))], [], Policy()))
    ((warning,),) = [[finding for finding in findings if finding.rule == "class-sensitivity"]]
    assert warning.lesion_class == "bcc"
    assert warning.text.startswith("40 images of bcc are too few to show that its sensitivity drops by less than 5.0 points")
    labels = np.concatenate([np.repeat([0, 2], 40), LABELS[(LABELS != 0) & (LABELS != 2)]])
    findings = findings_of(judge([lab.entry(lab.compared(labels, labels, labels))], [], Policy(class_margins={"bcc": 3.0})))
    ((warning,),) = [[finding for finding in findings if finding.rule == "class-sensitivity"]]
    assert "by less than their margins: mel (40 images, power" in warning.text
    assert warning.text.endswith(", margin 3.0); only large losses can be detected")


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (140, "cannot exclude a drop above 1.0 points [-2.7, 2.7]; about 850 images would decide in 80% of audits"),
        (70, "70 images are fewer than the policy's 100; about 1,400 images would decide in 80% of audits"),
    ],
)
def test_an_open_drop_says_what_would_decide(lab: SimpleNamespace, count: int, expected: str) -> None:
    few = LABELS[:count]
    findings = findings_of(judge([lab.entry(lab.compared(few, few, few))], [], Policy()))
    (drop_finding,) = (finding for finding in findings if finding.rule == "drop")
    assert drop_finding.text == expected


def test_the_clinical_gates_are_told_in_words(lab: SimpleNamespace) -> None:
    """30 of 60 cancers are called benign; or 1 of 60, which are too few to bound the share; or none of them."""
    labels = np.where(np.isin(LABELS, (0, 2, 3)) & (np.arange(1400) >= 140), 1, LABELS)
    ill = np.flatnonzero(np.isin(labels, (0, 2, 3)))
    texts = []
    for lost in (30, 1, 0):
        engine = labels.copy()
        engine[ill[:lost]] = 1
        findings = findings_of(judge([lab.entry(lab.compared(engine, labels, labels))], [], Policy()))
        texts += [f"{finding.severity.value} {finding.text}" for finding in findings if finding.gate == MALIGNANT_CALLS]
    assert texts[0].startswith("fail malignant called malignant: loses 50.0 points, at least 37.")
    assert texts[1].startswith("fail 30 of the 60 images that the source correctly calls malignant turn benign, 50.0%")
    assert texts[2].startswith("inconclusive malignant called malignant: cannot exclude a drop above 5.0 points [-4.")
    assert texts[3].startswith("inconclusive 1 of the 60 images that the source correctly calls malignant turn benign, 1.7%")
    assert texts[-1].startswith("warning the source calls only 60 images of a malignant class malignant: too few")


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Policy(margin=2.0), "margin 2.0 (default 1.0)"),
        (Policy(margins={"pgd": 7.0}), "margin of pgd 7.0 (default 1.0)"),
        (Policy(malignant_margin=10.0), "malignant margin 10.0 (default 5.0)"),
        (Policy(many_malignant=100_000), "malignant margin of many 5.0 (default 2.5)"),
        (Policy(class_margins={"mel": 50.0}), "class margin of mel 50.0 (default 5.0)"),
        (Policy(turned_benign=25.0), "malignant to benign 25.0 (default 5.0)"),
        (Policy(confidence=0.8), "confidence 0.8 (default 0.95)"),
        (Policy(minimal_images=1), "minimal images 1 (default 100)"),
    ],
)
def test_bounds_far_from_the_default_stand_beside_every_verdict(lab: SimpleNamespace, policy: Policy, words: str) -> None:
    for sets in ([some(lab, "clean"), some(lab, "pgd")], [some(lab, "clean")], [some(lab, "clean"), some(lab, "worse")]):
        _, reason = conclude(sets, judge(sets, [], policy), [], policy)
        assert reason.endswith(f"; the policy is far wider than the default: {words}")


def test_bounds_near_the_default_are_not_told() -> None:
    assert loosened(Policy()) == ""
    assert loosened(Policy(margin=1.9, malignant_margin=2.0, malignant_to_benign=9, confidence=0.99)) == ""


def test_exit_codes() -> None:
    assert [exit_code(verdict) for verdict in (PASS, FAIL, INCONCLUSIVE)] == [0, 1, 3]


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
        {"clinical": "none"},
        {"clinical": "whim"},
    ],
)
def test_a_policy_that_switches_checks_off_is_refused(setting: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(setting))):
        Policy(**setting)  # type: ignore[arg-type]
