"""Whether an image's answer depends on the size of its batch or on its neighbours."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "batch-dependence": Rule(
        "Answers that depend on the batch",
        "The same image gets other logits in a batch of another size or at another place of it.",
        "Look for batch norm in training mode and for operations across the batch axis.",
    ),
}


TOLERANCE = 1e-2
"""How far a logit may move with the batch, relative to the range of all: other kernels round otherwise, by 1e-3 in fp16."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL beyond the tolerance, warn where an answer differs within it."""
    consistency = evidence.consistency
    if consistency.identical:
        return
    text = (
        f"{consistency.images} images in batches of {', '.join(map(str, consistency.sizes))} and in reverse order: logits "
        f"differ by up to {consistency.largest:.0e} of their range, and {consistency.flips} predictions change"
    )
    severity = Severity.WARNING if consistency.flips else Severity.NOTE
    if consistency.largest > TOLERANCE:
        severity, text = Severity.FAIL, f"{text}; the answer to an image depends on its batch"
    figures = {"images": consistency.images, "largest": consistency.largest, "flips": consistency.flips}
    yield Finding(severity, "batch-dependence", None, text, figures=figures)
