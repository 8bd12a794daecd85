"""Whether the engine outputs logits, as its manifest says."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "probabilities": Rule(
        "Probabilities instead of logits",
        "A softmax is part of the engine. The audit and every user of the engine see saturated outputs.",
        "Export without the softmax, or audit the file as a foreign engine with a contract that says so.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL if it outputs probabilities."""
    if evidence.inputs.manifest is not None and evidence.clean.probabilities:
        text = "every row lies in [0, 1] and sums to 1: the engine outputs probabilities, but its manifest says logits"
        yield Finding(Severity.FAIL, "probabilities", "clean", text)
