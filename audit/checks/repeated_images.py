"""Whether images occur more than once, as copies or as near-copies."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "repeated-images": Rule(
        "Images that occur more than once",
        "Copies make the intervals narrower than the evidence justifies.",
        "Remove the copies from the data, or give them the same lesion name.",
    ),
    "near-copies": Rule(
        "Near-copies among images of different lesions",
        "A mirrored, shifted, compressed or brightened copy adds no new evidence, so both images count as one lesion.",
        "Check the lesion names of the data, and remove edited copies.",
    ),
}


_COPIES = 0.01
"""From this share of copies on, an interval is clearly narrower than the evidence justifies."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn about copies, and forbid PASS if there are many; say how many lesions were joined."""
    copies = evidence.inputs.copies
    if copies.repeated:
        text = f"{copies.repeated} clean images are copies of others, so there is less evidence than the number of images"
        severity = Severity.INCONCLUSIVE if copies.repeated > _COPIES * len(evidence.inputs.clean) else Severity.WARNING
        yield Finding(severity, "repeated-images", "clean", text, figures={"copies": copies.repeated})
    if copies.joined:
        text = (
            f"the images of {copies.joined} lesions are near-copies of images of other lesions. They are counted together, "
            f"so {copies.lesions_left} lesions remain"
        )
        figures = {"joined": copies.joined, "lesions": copies.lesions_left}
        yield Finding(Severity.WARNING, "near-copies", "clean", text, figures=figures)
    if not copies.every_pair:
        text = (
            f"{len(evidence.inputs.clean):,} images are too many to compare all pairs, so shifted or cropped "
            "copies may count as separate lesions"
        )
        yield Finding(Severity.NOTE, "near-copies", "clean", text, figures={"images": len(evidence.inputs.clean)})
