"""Whether the source has any robustness that the engine could lose."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.statistics import wilson_interval

ABOUT: About = "figures"
RULES = {
    "agreement-only": Rule(
        "The source keeps nothing under attack",
        "Under its strongest attack the source is no better than a constant answer, so an engine has no robustness to lose.",
        "Harden the source model with `skinaudit train --hardening pgd`, or judge it at a smaller eps.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Say where source and engine can only be shown to agree; the policy decides whether that may pass.

    The strongest stored white-box attack of a threat model decides. Where the source keeps something under one threat
    model at least, the others are noted and decide nothing.
    """
    bare = _bare_threats(evidence)
    if not bare:
        return
    if all(bare.values()):
        text = (
            "agreement only: under its strongest attacks the source is not shown to be better than a constant answer, so "
            "the engine can only be shown to agree with it; this says nothing of robustness"
        )
        severity = Severity.WARNING if evidence.policy.agreement_only == "pass" else Severity.INCONCLUSIVE
        yield Finding(severity, "agreement-only", None, text)
        return
    for title in filter(None, bare.values()):
        text = "agreement only: the source is not shown to be better than a constant answer here"
        yield Finding(Severity.NOTE, "agreement-only", title, text)


def _bare_threats(evidence: Evidence) -> dict[tuple[str | None, str | None], str]:
    """The threat models of the compared white-box sets: norm and eps -> title of a set on which the source keeps nothing.

    The title is empty where there is none. The source keeps something where its balanced accuracy is shown to be above that
    of a constant answer, 1 / classes: the mean of the Wilson lower bounds of its sensitivities, as on clean images.
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
