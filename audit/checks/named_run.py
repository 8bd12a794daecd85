"""Whether the run is the one that the policy names."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "named-run": Rule(
        "Not the run that the policy names",
        "Weights, structure, data, test images, contract or operating points of the engine's run are not those of the run "
        "that the policy names, or the run is not available. Somebody trained again, or rewrote the run's folder.",
        "Find out what changed. If the new run is meant, `skinaudit policy RUN` prints a policy that names it.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS for a run other than the policy's. Say nothing if the policy names no run."""
    named, anchor = evidence.policy.run, evidence.inputs.anchor
    if named is None or named == anchor:
        return
    of_run = "the engine's run is not available" if anchor is None else f"the engine's run is {anchor}"
    yield Finding(Severity.INCONCLUSIVE, "named-run", None, f"the policy names the run {named}, but {of_run}")
