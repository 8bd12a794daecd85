"""Whether the engine's graph can decide by something that no stored image holds."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "conditions": Rule(
        "A graph that decides by a condition",
        "The engine has comparisons or branches that its reference has not, so that an answer can hang on a trigger.",
        "Look at these nodes in the file; export the engine again from its run.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS for comparisons and branches that the reference has not."""
    if evidence.added_conditions:
        text = (
            f"the graph has {', '.join(evidence.added_conditions)}, which its reference has not: an answer can hang on a "
            "trigger that no stored image holds"
        )
        yield Finding(Severity.INCONCLUSIVE, "conditions", None, text)
