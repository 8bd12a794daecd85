"""Whether the run's structure and weights explain the file that runs."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "unexplained": Rule(
        "A file that its run does not explain",
        "A node or a weight of the engine's file is not that of the run's model, nor a rounding of it. An answer can hang "
        "on what no stored image holds.",
        "Look at this node in the file, and export the engine again from its run.",
    ),
    "unproved": Rule(
        "Weights that were not compared",
        "The layers and weights of the engine were not compared with those of its run.",
        "Keep run.json, structure.json and weights.safetensors of the run; `proof` of the policy says what holds without.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS for what the run does not explain, and as the policy says where nothing could be compared."""
    proof, policy = evidence.proof, evidence.policy.proof
    if proof.difference:
        yield Finding(Severity.INCONCLUSIVE, "unexplained", None, f"{proof.file}: {proof.difference}")
    if proof.lack is None:
        return
    binding = policy == "always" or (policy == "where readable" and proof.lack == "file")
    severity = Severity.INCONCLUSIVE if binding else Severity.WARNING
    if evidence.inputs.manifest is None:
        severity = Severity.NOTE  # nothing is to be done about it, and a foreign engine never passes
    text = f"layers and weights of {proof.file} are not proved: {proof.unproved}"
    yield Finding(severity, "unproved", None, text)
