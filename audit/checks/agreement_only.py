"""Whether the source has any robustness that the engine could lose."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.statistics import wilson_interval

ABOUT: About = "figures"
RULES = {
    "agreement-only": Rule(
        "The source model is not robust",
        "Under its strongest attack the source is no better than a constant answer, so the engine has no robustness to "
        "lose.",
        "Harden the source model with `skinaudit train --hardening pgd`, or judge it at a smaller eps.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Say when the audit can only show that source and engine agree; the policy decides whether such an audit may pass.

    For each threat model the strongest stored white-box attack decides. If the source is robust under at least one threat
    model, the others only get a note.
    """
    bare = _bare_threats(evidence)
    if not bare:
        return
    if all(bare.values()):
        text = (
            "agreement only: under its strongest attacks the source is not shown to be better than a constant answer, so "
            "the audit can only show that the engine agrees with it; this says nothing about robustness"
        )
        severity = Severity.WARNING if evidence.policy.agreement_only == "pass" else Severity.INCONCLUSIVE
        yield Finding(severity, "agreement-only", None, text)
        return
    for title in filter(None, bare.values()):
        text = "agreement only: the source is not shown to be better than a constant answer here"
        yield Finding(Severity.NOTE, "agreement-only", title, text)


def _bare_threats(evidence: Evidence) -> dict[tuple[str | None, str | None], str]:
    """Map each threat model (norm, eps) of the compared white-box sets to the title of a set on which the source fails.

    The title is empty if there is no such set. The source fails on a set unless its balanced accuracy is shown to be above
    that of a constant answer, 1 / classes. As on clean images, this is shown by the mean of the Wilson lower bounds of its
    sensitivities.
    """
    bare: dict[tuple[str | None, str | None], str] = {}
    for result in evidence.attacked:
        comparison = result.comparison
        if not result.white_box or comparison.source_accuracy is None:
            continue
        lower = [
            wilson_interval(entry.source.right, entry.source.count, confidence=evidence.policy.confidence).low
            for entry in comparison.classes
            if entry.source is not None and entry.source.count
        ]
        nothing = sum(lower) / len(lower) <= comparison.constant_balanced
        threat = (result.norm, result.eps)
        bare[threat] = result.title if nothing else bare.get(threat, "")
    return bare
