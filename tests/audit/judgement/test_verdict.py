from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from skinaudit.audit.checks.sanity import figures
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Finding, Gate, Judgement, SetResult, Severity, Verdict
from skinaudit.audit.judgement.verdict import conclude, exit_code, of_gates
from skinaudit.errors import InvalidInputError

LABELS = np.arange(1400) % 7
PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def some(lab: SimpleNamespace, what: str) -> SetResult:
    """A set by what is the matter with it."""
    engine = np.where(np.arange(1400) < 100, 1, LABELS) if what == "worse" else LABELS
    compared = lab.compared(engine, LABELS, LABELS, attacked=what != "clean")
    one: SetResult = lab.entry(compared, clean=what.startswith("clean"), white_box=what != "transfer")
    if what.endswith("unjudged"):
        return replace(one, judgement=None)
    return replace(one, judgement=Judgement(INCONCLUSIVE)) if what == "open" else one


def test_the_same_answers_pass(lab: SimpleNamespace) -> None:
    sets = [some(lab, "clean"), some(lab, "pgd")]
    gates = judge(sets, [], Policy())
    assert figures(sets[0], sets[1:]) == of_gates(gates, Policy()) == []
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
        ("clean open", None, INCONCLUSIVE, "pgd linf 2/255"),
        ("clean pgd worse", None, FAIL, "pgd linf 2/255"),
        ("clean pgd", Severity.FAIL, FAIL, "control: told"),
        ("clean pgd", Severity.INCONCLUSIVE, INCONCLUSIVE, "control: told"),
        ("clean worse", Severity.INCONCLUSIVE, FAIL, "pgd linf 2/255"),
        ("clean pgd", Severity.WARNING, PASS, "2 sets hold within 1.0 points of the source model; 1 warning above"),
        ("clean pgd unjudged", None, PASS, "1 not compared"),
    ],
)
def test_pass_has_to_be_earned(
    lab: SimpleNamespace, sets: str, severity: Severity | None, expected: Verdict, reason: str
) -> None:
    findings = [] if severity is None else [Finding(severity, "control", "control", "told")]
    verdict, text = conclude([some(lab, what) for what in sets.split()], [], findings, Policy())
    assert verdict is expected
    assert reason in text


@pytest.mark.parametrize(("binding", "expected"), [(True, INCONCLUSIVE), (False, PASS)])
def test_an_open_gate_forbids_pass_where_it_binds(lab: SimpleNamespace, binding: bool, expected: Verdict) -> None:
    gate = Gate("class-sensitivity", "clean", "mel", 0.0, 0.05, None, 1.0, 40, Judgement(INCONCLUSIVE), binding)
    sets = [some(lab, "clean"), some(lab, "pgd")]
    assert conclude(sets, [gate], [], Policy())[0] is expected
    failed = replace(gate, judgement=Judgement(FAIL))
    assert conclude(sets, [failed], [], Policy())[0] is FAIL


def test_sets_below_the_minimum_do_not_pass_even_if_judged_so(lab: SimpleNamespace) -> None:
    sets = [replace(some(lab, what), judgement=Judgement(PASS)) for what in ("clean", "pgd")]
    assert conclude(sets, [], [], Policy(minimal_images=1401))[0] is INCONCLUSIVE


def test_gates_are_told_in_words(lab: SimpleNamespace) -> None:
    """One melanoma of 40 is called benign, and bcc has too few images to show anything."""
    labels = np.concatenate([np.repeat([0, 2], 40), LABELS[(LABELS != 0) & (LABELS != 2)]])
    engine = labels.copy()
    engine[0] = 1
    told = of_gates(judge([lab.entry(lab.compared(engine, labels, labels))], [], Policy()), Policy())
    assert [(one.severity, one.rule, one.lesion_class) for one in told] == [
        (Severity.FAIL, "malignant-to-benign", None),
        (Severity.WARNING, "class-sensitivity", "mel"),
        (Severity.WARNING, "class-sensitivity", "bcc"),
    ]
    assert told[0].text == "1 malignant image that the source gets right called benign (limit 0)"
    assert told[2].text.startswith("40 images of bcc are too few to show that its sensitivity drops by less than 5.0 points")


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (140, "cannot exclude a drop above 1.0 points [-2.7, 2.7]; about 390 images would decide"),
        (70, "70 images are fewer than the policy's 100; about 390 images would decide"),
    ],
)
def test_an_open_drop_says_what_would_decide(lab: SimpleNamespace, count: int, expected: str) -> None:
    few = LABELS[:count]
    (told,) = (one for one in of_gates(judge([lab.entry(lab.compared(few, few, few))], [], Policy()), Policy())
               if one.rule == "drop")  # fmt: skip
    assert told.text == expected


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
