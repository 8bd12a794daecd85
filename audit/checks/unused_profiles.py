"""Whether the file holds ways of computing that the audit cannot take."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "unused-profiles": Rule(
        "Optimisation profiles that were not run",
        "A service may choose a profile of the plan that no batch is computed by here, with kernels of its own.",
        "Build the plan with one profile for each range of batches, then audit again.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS where a part of the file was not run: nothing is known of its answers."""
    unused = evidence.engine.unused
    if unused:
        text = (
            f"{unused} optimisation profile{'s' * (unused > 1)} of the plan cannot be chosen by the batch, so not run here"
        )
        yield Finding(Severity.INCONCLUSIVE, "unused-profiles", None, text, figures={"profiles": unused})
