"""Whether a reference reproduced the logits stored in the sets."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "control": Rule(
        "The control was not run",
        "No reference reproduced the logits stored in the sets. The audit trusts them without proof.",
        "Put the fp32 reference beside the engine, or name one with --control.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Without a control, forbid PASS, or warn if the policy says that the control is optional."""
    if evidence.inputs.manifest is None or evidence.reference.engine is not None:
        return
    text = f"control {evidence.reference.text}: the stored logits are trusted without proof"
    severity = Severity.INCONCLUSIVE if evidence.policy.control == "required" else Severity.WARNING
    yield Finding(severity, "control", None, text)
