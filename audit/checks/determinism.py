"""Whether running the same batch again gives bit-identical outputs."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.artifacts.logits import range_text
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.checks.batch_dependence import tolerance

ABOUT: About = "engine"
RULES = {
    "determinism": Rule(
        "Outputs that are not reproducible",
        "The same batch gives different logits on a second run, so a second audit could reach a different verdict.",
        "Fix the number of threads and the algorithms of the runtime, then audit again.",
    ),
    "interrupted": Rule(
        "Outputs of an interrupted audit are used",
        "An earlier audit of the same files was interrupted. Its outputs were kept in the user's cache and used again.",
        "Nothing needs to be done. To ask the engine for everything again, repeat the audit.",
    ),
}
_FEW = 2  # near ties whose class may change if a runtime is not bit-reproducible


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS if a second run differs; FAIL if the outputs change after some use of the engine.

    A note names the sets whose outputs were not all computed in this audit.
    """
    if evidence.taken_up:
        text = (
            f"{', '.join(evidence.taken_up)}: outputs of an interrupted audit of the same files are used; for each set one "
            "batch, drawn by the seed, was computed again and gave the same bits"
        )
        yield Finding(Severity.NOTE, "interrupted", None, text)
    consistency = evidence.consistency
    if not consistency.repeats:
        text = "the same batch gives different bits on a second run: a second audit could reach a different verdict"
        yield Finding(Severity.INCONCLUSIVE, "determinism", None, text)
    worse = consistency.later_largest > tolerance(evidence) or consistency.later_flips > _FEW
    if worse or (consistency.later_changed and consistency.repeats):
        text = (
            f"at the end of the audit the same batches gave different logits for {consistency.later_changed} of "
            f"{consistency.later:,} images, which differ {range_text(consistency.later_largest)} at most, and a different "
            f"class for {consistency.later_flips}: the engine changes with use"
        )
        figures = {"images": consistency.later, "changed": consistency.later_changed, "flips": consistency.later_flips}
        severity = Severity.FAIL if worse else Severity.INCONCLUSIVE
        yield Finding(severity, "determinism", None, text, figures=figures)
