"""Whether every node and weight of the engine's file comes from its run."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "unexplained": Rule(
        "A file with parts that do not come from its run",
        "A node or a weight in the engine's file is neither that of the run's model nor a rounded version of it. "
        "Predictions "
        "may depend on something that no stored image contains.",
        "Look at this node in the file, and export the engine again from its run.",
    ),
    "unproved": Rule(
        "Weights that were not compared",
        "The layers and weights of the engine were not compared with those of its run.",
        "Keep run.json, structure.json and weights.safetensors of the run. `proof` in the policy sets what happens "
        "otherwise.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS if a part does not come from the run; if no comparison was possible, do what the policy says."""
    proof, policy = evidence.proof, evidence.policy.proof
    if proof.difference:
        yield Finding(Severity.INCONCLUSIVE, "unexplained", None, f"{proof.file}: {proof.difference}")
    if proof.lack is None:
        return
    binding = policy == "always" or (policy == "where readable" and proof.lack != "format")
    severity = Severity.INCONCLUSIVE if binding else Severity.WARNING
    if evidence.inputs.manifest is None:
        severity = Severity.NOTE  # nothing can be done about it, and a foreign engine never passes
    text = f"layers and weights of {proof.file} are not proved: {proof.unproved}"
    yield Finding(severity, "unproved", None, text)
