"""Whether there is any robustness that the engine could keep."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "not-robust": Rule(
        "Robust accuracy no better than a constant answer",
        "The engine holds what its source had, and its source had little: under attack one fixed answer does as well.",
        "Harden the source model with `skinaudit train --hardening pgd`, or judge it at a smaller eps.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn where one fixed answer does as well under attack."""
    for result in evidence.attacked:
        found = result.comparison
        if not result.white_box or found.source_accuracy is None:
            continue
        hopeless = found.engine_balanced <= found.constant_balanced
        if not hopeless and found.engine_accuracy >= found.majority_share:
            continue
        text = (
            f"robust accuracy {found.engine_accuracy:.1%} (balanced {found.engine_balanced:.1%}), "
            f"always {found.majority_class} gets {found.majority_share:.1%} (balanced {found.constant_balanced:.1%})"
        )
        figures = {"robust": found.engine_accuracy, "balanced": found.engine_balanced}
        if hopeless:
            yield Finding(Severity.WARNING, "not-robust", result.title, f"not robust in itself: {text}", figures=figures)
        else:
            yield Finding(Severity.NOTE, "not-robust", result.title, text, figures=figures)
