"""Whether the sets are those that the run's training measured."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "results": Rule(
        "Sets that are not those that were measured",
        "The source model scores otherwise on a set of the run than the run's training wrote down.",
        "Write the sets again with `skinaudit attack`, and look who changed images or labels.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS where the source scores otherwise on a set than its training wrote down."""
    for result in evidence.sets:
        recorded, measured = evidence.inputs.recorded.get(result.name), result.comparison.source_accuracy
        if recorded is None or measured is None or not result.white_box or abs(recorded - measured) <= 1e-9:
            continue
        text = (
            f"the source model is right on {measured:.2%} of these images, its training measured {recorded:.2%}: images or "
            "labels are not those that were measured"
        )
        figures = {"measured": measured, "recorded": recorded}
        yield Finding(Severity.INCONCLUSIVE, "results", result.title, text, figures=figures)
