"""Whether the engine's graph can react to a trigger that no stored image contains."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "conditions": Rule(
        "A graph with comparisons or branches",
        "The engine has comparisons or branches that its reference does not have, or its graph could not be searched for "
        "them. A prediction could then depend on a hidden trigger.",
        "Look at these nodes in the file. Export the engine again from its run, and keep the fp32 reference beside it.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS if the graph has comparisons or branches that the reference does not have, or could not be searched.

    If the engine's format cannot be read, the graph that it was built from is searched instead, and a note says so.
    """
    conditions = evidence.conditions
    if conditions is None:
        return
    if conditions.unseen:
        text = f"{conditions.file}: {conditions.unseen}: predictions may depend on a trigger that no stored image contains"
        yield Finding(Severity.INCONCLUSIVE, "conditions", None, text)
    elif conditions.added:
        text = (
            f"the graph has {', '.join(conditions.added)}, which its reference does not have: predictions may depend on a "
            "trigger that no stored image contains"
        )
        yield Finding(Severity.INCONCLUSIVE, "conditions", None, text)
    elif conditions.shared:
        text = f"engine and reference both have {', '.join(conditions.shared)}: ask the author of the model for the reason"
        yield Finding(Severity.WARNING, "conditions", None, text)
    if conditions.built_from and not conditions.unseen:
        text = (
            f"the engine's own format cannot be read, so conditions were searched in {conditions.file}; according to the "
            "manifest the engine was built from this file"
        )
        yield Finding(Severity.NOTE, "conditions", None, text)
