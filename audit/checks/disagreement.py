"""Whether a search found points where the engine is wrong and its source is right."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "disagreement": Rule(
        "Points where the engine is wrong and its source is right",
        "A search along the source's decision boundary found points in the eps ball that only the engine classifies "
        "wrongly.",
        "If this matters, export in a wider precision. A hardened model has fewer such points.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn about such points: an attacker who knows the source can make source and engine disagree."""
    for probe in evidence.probes:
        reference = probe.reference_accuracy
        if probe.drop is not None or reference is None or probe.fresh_accuracy >= reference:
            continue
        lost = round((reference - probe.fresh_accuracy) * probe.images)
        text = (
            f"{lost} of {probe.images} images have a point in the eps ball where the engine is wrong and its source is "
            "right: an attacker who knows the source can make the two disagree"
        )
        yield Finding(Severity.WARNING, "disagreement", probe.title, text, figures={"lost": lost, "images": probe.images})
