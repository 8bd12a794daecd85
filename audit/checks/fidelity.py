"""Whether the logits lie as close to the source's as their precision explains."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.artifacts.precisions import KINDS
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.errors import InvalidInputError

ABOUT: About = "figures"
RULES = {
    "fidelity": Rule(
        "Logits further from the source's than the precision explains",
        "The engine computes another function than its source, even where its answers agree on these images.",
        "Check that the engine was built from this run, and that nothing was added to or removed from its graph.",
    ),
}


EXPLAINED = {name: kind.explained_drift for name, kind in KINDS.items()}
"""Median drift of the logits over the median logit margin that a precision explains."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS for a file whose logits drift too far from its source's, even if its accuracy is as good.

    Raises InvalidInputError for a precision without a bound: a check that is silently off is worse than none.
    """
    manifest = evidence.inputs.manifest
    if manifest is None:
        return
    if manifest.asked not in EXPLAINED:
        raise InvalidInputError(
            f"{manifest.engine.file}: precision {manifest.asked!r}: no bound is known for its drift, so its fidelity cannot "
            f"be judged; the known ones are {', '.join(EXPLAINED)}"
        )
    allowed = EXPLAINED[manifest.asked]
    for result in evidence.sets:
        drift = result.drift
        if drift is None:
            continue
        drift_share = drift.median / max(drift.median_margin, 1e-30)
        if drift_share > allowed:
            text = (
                f"half of the images lie further from the source's logits than {drift.median:.2g}, {drift_share:.2g} of the "
                f"median logit margin; {manifest.asked} explains up to {allowed:g}"
            )
            figures = {"drift": drift.median, "margin": drift.median_margin, "allowed": allowed}
            yield Finding(Severity.INCONCLUSIVE, "fidelity", result.title, text, figures=figures)
