"""Whether the same batch gives the same bits when it is run again."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.checks.batch_dependence import tolerance

ABOUT: About = "engine"
RULES = {
    "determinism": Rule(
        "Other bits when run again",
        "The same batch gives other logits on a second run, so another audit could decide otherwise.",
        "Fix the number of threads and the runtime's algorithms, then audit again.",
    ),
}
_FEW = 2  # near ties whose class may change where a runtime does not repeat its bits


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS where a second run differs; FAIL where the engine answers otherwise after some use."""
    consistency = evidence.consistency
    if not consistency.repeats:
        text = "the same batch gives other bits when it is run again: another audit could decide otherwise"
        yield Finding(Severity.INCONCLUSIVE, "determinism", None, text)
    worse = consistency.later_largest > tolerance(evidence) or consistency.later_flips > _FEW
    if worse or (consistency.later_changed and consistency.repeats):
        text = (
            f"at the end of the audit {consistency.later_changed} of {consistency.later:,} images got other logits than "
            f"before in the same batches, by up to {consistency.later_largest:.0e} of their range, and "
            f"{consistency.later_flips} another class: the engine changes with use"
        )
        figures = {"images": consistency.later, "changed": consistency.later_changed, "flips": consistency.later_flips}
        severity = Severity.FAIL if worse else Severity.INCONCLUSIVE
        yield Finding(severity, "determinism", None, text, figures=figures)
