"""Whether the engine gives finite outputs for unusual inputs, such as a frame of one colour or of noise."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "odd-frames": Rule(
        "NaN or infinity for an unusual input",
        "An input of one colour, a gradient, a pattern, noise, or the darkest or brightest crop gives NaN or infinity.",
        "Look for divisions by a norm or a standard deviation, and for values that overflow.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL if such an input gives NaN or infinity."""
    odd = evidence.consistency.odd
    if odd:
        text = f"gives NaN or infinity for an input that is {', '.join(odd)}, so there is no predicted class"
        yield Finding(Severity.FAIL, "odd-frames", None, text)
