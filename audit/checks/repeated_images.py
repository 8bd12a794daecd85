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


_MANY = 0.2
"""From this share of joined lesions on, the pictures themselves may be the reason.

On HAM10000 no lesion of 1,409 is joined wrongly (docs/results/near-copies.md).
"""


def _example(evidence: Evidence) -> str:
    """Two joined images, as an example for a person to look at."""
    clean, lesions = evidence.inputs.clean, evidence.inputs.copies.lesions
    first: dict[int, int] = {}
    for row, lesion in enumerate(lesions):
        other = first.setdefault(int(lesion), row)
        if clean.group[other] != clean.group[row]:
            return f" ({clean.ids[other]} and {clean.ids[row]}, for example)"
    return ""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn about copies, and forbid PASS if there are many; say how many lesions were joined."""
    copies = evidence.inputs.copies
    if copies.repeated:
        images = (
            "1 clean image is a copy of another"
            if copies.repeated == 1
            else f"{copies.repeated} clean images are copies of others"
        )
        text = f"{images}, so there is less evidence than the number of images"
        severity = Severity.INCONCLUSIVE if copies.repeated > _COPIES * len(evidence.inputs.clean) else Severity.WARNING
        yield Finding(severity, "repeated-images", "clean", text, figures={"copies": copies.repeated})
    if copies.joined:
        lesions = "1 lesion" if copies.joined == 1 else f"{copies.joined} lesions"
        text = (
            f"the images of {lesions} are near-copies of images of other lesions{_example(evidence)}. They "
            f"are counted together, so {copies.lesions_left} lesions remain"
        )
        if copies.joined >= _MANY * (copies.joined + copies.lesions_left):
            text += (
                "; so many look alike seldom in photographs: if these are drawings, or plain areas without detail, "
                "they cannot be told apart, and photographs are needed to decide"
            )
        figures = {"joined": copies.joined, "lesions": copies.lesions_left}
        yield Finding(Severity.WARNING, "near-copies", "clean", text, figures=figures)
    if not copies.every_pair:
        text = (
            f"{len(evidence.inputs.clean):,} images are too many to compare all pairs, so shifted or cropped "
            "copies may count as separate lesions"
        )
        yield Finding(Severity.NOTE, "near-copies", "clean", text, figures={"images": len(evidence.inputs.clean)})
