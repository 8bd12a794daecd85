"""Whether the engine answers frames that no camera takes and a service may get."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "odd-frames": Rule(
        "No answer to a frame that a service may get",
        "A frame of one colour, a gradient, a pattern, noise, or the darkest or brightest crop gets NaN or infinity.",
        "Look for divisions by a norm or a deviation, and for ranges that overflow.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL where such a frame gets NaN or infinity."""
    odd = evidence.consistency.odd
    if odd:
        text = f"answers NaN or infinity to a frame that is {', '.join(odd)}: whoever gets such an answer has no class"
        yield Finding(Severity.FAIL, "odd-frames", None, text)
