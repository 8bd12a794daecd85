"""Whether the engine answers images as it answers stored ones where no set holds them."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.checks.batch_dependence import tolerance
from skinaudit.audit.evidence.nearby_images import BETWEEN, STEP, STORED, Difference

ABOUT: About = "engine"
RULES = {
    "nearby-images": Rule(
        "Another function beside the stored images",
        "The engine answers otherwise where every pixel is a step or less away from a stored image.",
        "Look for parts of the graph that react to exact values of pixels; export the engine from its run again.",
    ),
}
_MORE = 4
"""An honest engine lies as far from its reference beside the stored images as on them: on trained models the two medians
differed by less than a half (docs/results/drift.md)."""
_OWN = 3
"""Half a step moves the logits less than a whole one does: by about a third in a smooth model."""
_FLIPPED, _FEW = 0.1, 2
"""Share of the images whose class may change beyond those of the other kind, and how many may in any case."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL where classes change or no answer comes beside the stored images, INCONCLUSIVE where only logits do.

    The measure is the difference from the reference on the stored images themselves; without a reference the engine's own
    change by a whole step.
    """
    nearby = evidence.nearby
    if nearby.unanswered:
        text = f"answers NaN or infinity to {' and '.join(nearby.unanswered)}"
        yield Finding(Severity.FAIL, "nearby-images", None, text)
    limit = tolerance(evidence)
    pairs = [(STORED, kind, nearby.reference, _MORE, "from its reference") for kind in (STEP, BETWEEN)]
    pairs.append((STEP, BETWEEN, nearby.own, _OWN, "from its answers to the stored ones"))
    for usual, kind, differences, times, what in pairs:
        if usual not in differences or kind not in differences:
            continue
        expected, found = differences[usual], differences[kind]
        if found.median <= times * expected.median + limit:
            continue
        severity = Severity.FAIL if _flips(expected, found, nearby.images) else Severity.INCONCLUSIVE
        text = (
            f"on {kind} of the 8-bit grid half of the logits lie {found.median:.0e} of their range or more {what}, on "
            f"{usual} {expected.median:.0e}; {found.flips} of {nearby.images} classes differ, {expected.flips} there"
        )
        figures = {"images": nearby.images, "median": found.median, "flips": found.flips, "usual": expected.median}
        yield Finding(severity, "nearby-images", None, text, figures=figures)


def _flips(expected: Difference, found: Difference, images: int) -> bool:
    return found.flips - expected.flips > max(_FEW, _FLIPPED * images)
