"""Whether the file has optimisation profiles that the audit cannot run."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "unused-profiles": Rule(
        "Optimisation profiles that were not run",
        "A service may use a profile of the plan that the audit did not run. Each profile has its own kernels.",
        "Build the plan with one profile for each range of batch sizes, then audit again.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS if a profile of the file was not run: nothing is known about its outputs."""
    unused = evidence.engine.unused
    if unused:
        text = (
            f"{unused} optimisation profile{'s' * (unused > 1)} of the plan cannot be chosen by batch size, so did not run"
        )
        yield Finding(Severity.INCONCLUSIVE, "unused-profiles", None, text, figures={"profiles": unused})
