"""Whether the operating point that the policy names can be judged."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "operating-point": Rule(
        "The operating point of the policy is not known",
        "No threshold of the malignant score was fixed on validation images for the specificity that the policy names.",
        "Train with `--specificity`, or name a specificity that the run recorded in the policy's [operating_point].",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS where the policy bounds the loss at an operating point that is not known; otherwise it is only not shown.

    A policy that names another specificity than the run recorded gets a warning.
    """
    text, policy = evidence.operating.lacking, evidence.policy
    if not text:
        return
    if policy.operating_margin is not None:
        text = f"{text}; the policy bounds the loss of sensitivity there"
        yield Finding(Severity.INCONCLUSIVE, "operating-point", None, text)
    elif evidence.operating.recorded:
        yield Finding(Severity.WARNING, "operating-point", None, text)
