"""Whether a search found points where the engine is wrong and its source is right."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "disagreement": Rule(
        "Points where the engine is wrong and its source is right",
        "A search along the source's decision boundary found images in the ball on which only the engine errs.",
        "Where that matters, export in a wider precision; that of a hardened model leaves fewer of them.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn of them: an attacker who knows the source can make the two differ."""
    for probe in evidence.probes:
        reference = probe.reference_accuracy
        if probe.drop is not None or reference is None or probe.fresh_accuracy >= reference:
            continue
        lost = round((reference - probe.fresh_accuracy) * probe.images)
        text = (
            f"{lost} of {probe.images} images have a point in the ball where the engine is wrong and its source right: an "
            "attacker who knows the source can make the two differ"
        )
        yield Finding(Severity.WARNING, "disagreement", probe.title, text, figures={"lost": lost, "images": probe.images})
