from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from linear_run import change_set, probed

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.void_gates import check
from skinaudit.audit.figures.at_threshold import at_threshold
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.policy import Policy


def judged(honest: Evidence, **bounds: Any) -> Evidence:
    """The evidence as a policy with these bounds judges it."""
    policy = Policy(**bounds)
    return replace(honest, policy=policy, gates=judge(honest.sets, honest.probes, policy))


DAMAGES = {
    "a margin for anything": lambda honest: judged(honest, margin=99.0),
    "a limit beyond all cancers": lambda honest: judged(honest, malignant_to_benign=100_000),
    "a source with nothing to lose": lambda honest: judged(change_set(honest, 1, source_accuracy=0.1), margins={"pgd": 2.0}),
}


@pytest.mark.parametrize(
    ("bounds", "severity", "words"),
    [
        ({"margin": 90.0}, Severity.INCONCLUSIVE, "drop of accuracy: with a margin of 90 points"),
        ({"malignant_to_benign": 300}, Severity.INCONCLUSIVE, "malignant-to-benign: the limit of 300 images is void"),
        ({"class_margin": 90.0}, Severity.INCONCLUSIVE, "class-sensitivity of mel: with a margin of 90 points"),
        ({"class_margins": {"bcc": 99.0}}, Severity.INCONCLUSIVE, "class-sensitivity of bcc: with a margin of 99 points"),
        ({"benign_margin": 99.0}, Severity.WARNING, "class-sensitivity of nv: with a margin of 99 points"),
        ({"margins": {"pgd": 99.0}}, Severity.INCONCLUSIVE, "drop of accuracy: with a margin of 99 points"),
    ],
)
def test_a_bound_that_allows_everything_is_said(
    honest: Evidence, bounds: dict[str, Any], severity: Severity, words: str
) -> None:
    findings = list(check(judged(honest, **bounds)))
    assert {finding.severity for finding in findings} == {severity}
    assert any(finding.text.startswith(words) for finding in findings)
    for finding in findings:
        assert any((gate.rule, gate.set, gate.subject) == (finding.text.split(" of ")[0].split(":")[0], finding.set,
                    finding.gate) for gate in judged(honest, **bounds).gates)  # fmt: skip


@pytest.mark.parametrize("bounds", [{}, {"margin": 20.0}, {"malignant_to_benign": 20}, {"class_margin": 20.0}])
def test_a_loose_bound_that_a_guess_still_fails_is_a_choice(honest: Evidence, bounds: dict[str, Any]) -> None:
    clean = replace(honest, sets=honest.sets[:1])
    assert list(check(judged(clean, **bounds))) == []


def test_a_source_that_guesses_has_nothing_to_lose(honest: Evidence) -> None:
    (note,) = [
        finding for finding in check(judged(change_set(honest, 1, source_accuracy=0.15))) if finding.lesion_class is None
    ]
    assert (note.severity, note.set) == (Severity.NOTE, honest.sets[1].title)
    assert note.text == "drop of accuracy: with a margin of 1 point, an engine that guesses would pass"


def test_fresh_attacks_have_a_margin_as_well(honest: Evidence) -> None:
    evidence = replace(honest, probes=(probed(replay=300, fresh=200, reference=200),))
    assert [
        finding.set for finding in check(judged(evidence, probe_margin=50.0)) if finding.text.startswith("probe-drop")
    ] == ["probe square linf 24/255"]
    assert not [finding for finding in check(judged(evidence)) if finding.text.startswith("probe-drop")]


@pytest.mark.parametrize(
    ("sensitivity", "margin", "severity"),
    [(0.0, 5.0, Severity.NOTE), (0.02, 5.0, Severity.NOTE), (0.5, 60.0, Severity.INCONCLUSIVE), (0.5, 5.0, None)],
)
def test_a_source_without_sensitivity_at_the_threshold_has_nothing_to_lose(
    honest: Evidence, sensitivity: float, margin: float, severity: Severity | None
) -> None:
    labels = np.repeat([0, 1], 100)
    called = np.arange(200) < 100 * sensitivity
    point = at_threshold(
        called, called, labels=labels, groups=np.arange(200), malignant=(0,), prevalence=None, confidence=0.95
    )
    evidence = judged(change_set(honest, 1, at_threshold=point), operating_specificity=0.9, operating_margin=margin)
    about_point = [finding for finding in check(evidence) if finding.text.startswith("operating-sensitivity")]
    assert [finding.severity for finding in about_point] == ([] if severity is None else [severity])
