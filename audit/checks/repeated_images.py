"""Whether images are there more than once, as copies or as near-copies."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "repeated-images": Rule(
        "Images that are there more than once",
        "Copies make intervals look narrower than the evidence is.",
        "Leave copies out of the data, or give them the same lesion.",
    ),
    "near-copies": Rule(
        "Pictures of different lesions that are near-copies",
        "A picture that was mirrored, shifted, compressed or brightened is no second witness, so both count as one lesion.",
        "Look at the lesion names of the data; leave edited copies out.",
    ),
}


_COPIES = 0.01
"""Share of copies from which an interval is clearly narrower than the evidence."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn of copies, and forbid PASS where they are many; say how many lesions were joined."""
    copies = evidence.inputs.copies
    if copies.repeated:
        text = f"{copies.repeated} clean images are copies of others: there is less evidence than the numbers of images say"
        severity = Severity.INCONCLUSIVE if copies.repeated > _COPIES * len(evidence.inputs.clean) else Severity.WARNING
        yield Finding(severity, "repeated-images", "clean", text, figures={"copies": copies.repeated})
    if copies.joined:
        text = (
            f"{copies.joined} lesions look like near-copies of other lesions and count as one with them, which leaves "
            f"{copies.lesions_left}"
        )
        figures = {"joined": copies.joined, "lesions": copies.lesions_left}
        yield Finding(Severity.WARNING, "near-copies", "clean", text, figures=figures)
    if not copies.every_pair:
        text = (
            f"{len(evidence.inputs.clean):,} images are too many to compare each with each: copies that were shifted or "
            "cropped may count as lesions of their own"
        )
        yield Finding(Severity.NOTE, "near-copies", "clean", text, figures={"images": len(evidence.inputs.clean)})
