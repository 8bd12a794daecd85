"""Whether the same batch gives the same bits when it is run again."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "determinism": Rule(
        "Other bits when run again",
        "The same batch gives other logits on a second run, so another audit could decide otherwise.",
        "Fix the number of threads and the runtime's algorithms, then audit again.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS where a second run differs: another audit could decide otherwise."""
    if not evidence.consistency.repeats:
        text = "the same batch gives other bits when it is run again: another audit could decide otherwise"
        yield Finding(Severity.INCONCLUSIVE, "determinism", None, text)
