"""What an audit of an engine without its model can show."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "answers-alone": Rule(
        "Judged by its answers alone",
        "No model of this engine is at hand: nothing tells what its export lost, and no attack could follow its gradients.",
        "Audit it with the run that it was built from, or read its figures for what they are.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Say of a foreign engine without adversarial sets what the attack by its answers shows, and what it does not.

    It shows robust accuracy from above: an attacker who sees no more than answers got that far. It does not show what one
    who follows gradients would find, nor whether the engine still does what its model did.
    """
    if evidence.inputs.manifest is not None or evidence.attacked:
        return
    probes = [probe for probe in evidence.probes if probe.by_answers]
    found = "; ".join(
        f"under {probe.title} {probe.fresh_accuracy:.1%} of {probe.images:,} images stay right" for probe in probes
    )
    text = (
        f"attacked by its answers alone: {found or 'not at all'}. That bounds robust accuracy from above; an attack that "
        "follows gradients finds more, and nothing tells what the export lost"
    )
    yield Finding(Severity.WARNING, "answers-alone", None, text)
