"""Whether something tells what was lost on each set."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "not-compared": Rule(
        "A set that was compared with nothing",
        "The set was crafted on another model and no reference of this one is at hand, so nothing tells what was lost.",
        "Put the fp32 reference beside the engine or name one with --control.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn of a set that was compared with nothing; a foreign engine is compared with nothing at all."""
    if evidence.inputs.manifest is None:
        return
    for result in evidence.sets:
        if result.comparison.drop is None:
            text = "not compared: crafted on another model, and there is no reference of this one to compare with"
            yield Finding(Severity.WARNING, "not-compared", result.title, text)
