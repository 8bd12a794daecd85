"""Whether the engine behaves the same on images that lie close to the stored ones."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.artifacts.logits import range_text
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.checks.batch_dependence import tolerance
from skinaudit.audit.evidence.nearby_images import BETWEEN, STEP, STORED, Difference

ABOUT: About = "engine"
RULES = {
    "nearby-images": Rule(
        "Different behaviour close to the stored images",
        "The outputs change too much when every pixel moves by at most one 8-bit step away from a stored image.",
        "Look for parts of the graph that react to exact pixel values. Export the engine again from its run.",
    ),
}
_MORE = 4
"""A correct engine differs from its reference as much close to the stored images as on them. On trained models the two
medians differed by less than a half (docs/results/drift.md)."""
_OWN = 3
"""Half a step changes the logits less than a whole step: about a third as much in a smooth model."""
_FLIPPED, _FEW = 0.1, 2
"""How many more predictions may change than on the other kind of image: as a share of the images, and as a number that is
always allowed."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL if predictions change or outputs are not finite close to the stored images; INCONCLUSIVE if only logits change.

    The scale is the difference from the reference on the stored images themselves. Without a reference it is the engine's
    own change under a whole step.
    """
    nearby = evidence.nearby
    if nearby.unanswered:
        text = f"gives NaN or infinity for {' and '.join(nearby.unanswered)}"
        yield Finding(Severity.FAIL, "nearby-images", None, text)
    limit = tolerance(evidence)
    pairs = [(STORED, kind, nearby.reference, _MORE, "its reference") for kind in (STEP, BETWEEN)]
    pairs.append((STEP, BETWEEN, nearby.own, _OWN, "its outputs for the stored images"))
    for usual, kind, differences, times, base in pairs:
        if usual not in differences or kind not in differences:
            continue
        expected, measured = differences[usual], differences[kind]
        if measured.median <= times * expected.median + limit:
            continue
        severity = Severity.FAIL if _flips(expected, measured, nearby.images) else Severity.INCONCLUSIVE
        text = (
            f"on {kind} of the 8-bit grid half of the logits differ from {base} {range_text(measured.median)} or "
            f"more, on {usual} {range_text(expected.median)}; {measured.flips} and {expected.flips} of {nearby.images} "
            "predictions differ"
        )
        figures = {"images": nearby.images, "median": measured.median, "flips": measured.flips, "usual": expected.median}
        yield Finding(severity, "nearby-images", None, text, figures=figures)


def _flips(expected: Difference, measured: Difference, images: int) -> bool:
    return measured.flips - expected.flips > max(_FEW, _FLIPPED * images)
