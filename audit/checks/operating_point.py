"""Whether the operating point that the policy names can be judged."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "operating-point": Rule(
        "The operating point of the policy is not known",
        "The run has no threshold of the malignant score for the specificity of the policy.",
        "Train with `--specificity`, or write a specificity that the run recorded into [operating_point] of the policy.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS if the policy bounds the loss at an operating point that is not known.

    Without such a bound, the operating point is left out of the report. A policy with a specificity that the run did not
    record gets a warning.
    """
    text, policy = evidence.operating.lacking, evidence.policy
    if not text:
        return
    if policy.operating_margin is not None:
        text = f"{text}; the policy bounds the loss of sensitivity there"
        yield Finding(Severity.INCONCLUSIVE, "operating-point", None, text)
    elif evidence.operating.recorded:
        yield Finding(Severity.WARNING, "operating-point", None, text)
