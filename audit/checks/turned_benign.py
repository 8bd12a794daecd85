"""Which malignant images the engine calls benign but the source malignant. Each is listed for review, whatever the gates
say."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "review": Rule(
        "Malignant images that turned benign, for review",
        "The source model calls these malignant images malignant, the engine calls them benign. This may be within the "
        "bounds.",
        "Let a clinician look at each of them. The HTML report shows the images.",
    ),
}
_NAMED = 12
"""The number of images that a finding's text lists; the JSON and HTML reports list all."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn about every set on which a malignant image turned benign, with the names of the images."""
    for result in evidence.sets:
        flips = [flip for flip in result.flipped if flip.malignant_to_benign]
        if not flips:
            continue
        named = [f"{flip.name or flip.index} ({flip.label} called {flip.engine_answer})" for flip in flips[:_NAMED]]
        more = f" and {len(flips) - _NAMED} more in the JSON report" if len(flips) > _NAMED else ""
        text = f"malignant images turned benign, review each: {', '.join(named)}{more}"
        yield Finding(Severity.WARNING, "review", result.title, text, figures={"images": len(flips)})
