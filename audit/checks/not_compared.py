"""Whether the loss can be measured on each set."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "not-compared": Rule(
        "A set without a comparison",
        "The set was crafted on a different model, and there is no reference of this model. So the loss is unknown.",
        "Put the fp32 reference beside the engine, or name one with --control.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn about each set without a comparison. A foreign engine never has one, so there is no warning for it."""
    if evidence.inputs.manifest is None:
        return
    for result in evidence.sets:
        if result.comparison.drop is None:
            text = "not compared: crafted on a different model, and there is no reference of this model"
            yield Finding(Severity.WARNING, "not-compared", result.title, text)
