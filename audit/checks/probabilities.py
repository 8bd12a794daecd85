"""Whether the engine answers logits, as its manifest says."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "probabilities": Rule(
        "Probabilities where logits are promised",
        "A softmax is part of the engine: an audit of it sees saturated outputs, and so does whoever uses it.",
        "Export without the softmax, or audit the file as a foreign engine through a contract that says so.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL where it answers probabilities."""
    if evidence.inputs.manifest is not None and evidence.clean.probabilities:
        text = "every row lies in [0, 1] and sums to 1: the engine answers probabilities where its manifest promises logits"
        yield Finding(Severity.FAIL, "probabilities", "clean", text)
