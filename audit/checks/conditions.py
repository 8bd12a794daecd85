"""Whether the engine's graph can decide by something that no stored image holds."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "conditions": Rule(
        "A graph that decides by a condition",
        "The engine has comparisons or branches that its reference has not, so that an answer can hang on a trigger, or "
        "nothing shows that it has none.",
        "Look at these nodes in the file; export the engine again from its run, and keep the fp32 reference beside it.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS for comparisons and branches that the reference has not, and where that could not be seen.

    For an engine whose format cannot be read, the graph that it was built from is looked at, and a note says so.
    """
    conditions = evidence.conditions
    if conditions is None:
        return
    if conditions.unseen:
        text = f"{conditions.file}: {conditions.unseen}: an answer may hang on a trigger that no stored image holds"
        yield Finding(Severity.INCONCLUSIVE, "conditions", None, text)
    elif conditions.added:
        text = (
            f"the graph has {', '.join(conditions.added)}, which its reference has not: an answer can hang on a trigger "
            "that no stored image holds"
        )
        yield Finding(Severity.INCONCLUSIVE, "conditions", None, text)
    elif conditions.shared:
        text = f"engine and reference both have {', '.join(conditions.shared)}: only the reference's author knows what for"
        yield Finding(Severity.WARNING, "conditions", None, text)
    if conditions.built_from and not conditions.unseen:
        text = (
            f"conditions were looked for in {conditions.file}, which the engine was built from by its manifest; the "
            "engine's own format cannot be read"
        )
        yield Finding(Severity.NOTE, "conditions", None, text)
