"""Whether the engine has any robustness at all."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "not-robust": Rule(
        "Robust accuracy no better than a constant answer",
        "The engine is as robust as its source, but the source is not robust: under attack a constant answer does as well.",
        "Harden the source model with `skinaudit train --hardening pgd`, or judge it at a smaller eps.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn if a constant answer does as well under attack."""
    for result in evidence.attacked:
        comparison = result.comparison
        if not result.white_box or comparison.source_accuracy is None:
            continue
        hopeless = comparison.engine_balanced <= comparison.constant_balanced
        if not hopeless and comparison.engine_accuracy >= comparison.majority_share:
            continue
        text = (
            f"robust accuracy {comparison.engine_accuracy:.1%} (balanced {comparison.engine_balanced:.1%}); "
            f"always answering {comparison.majority_class} gets {comparison.majority_share:.1%} (balanced "
            f"{comparison.constant_balanced:.1%})"
        )
        figures = {"robust": comparison.engine_accuracy, "balanced": comparison.engine_balanced}
        if hopeless:
            text = f"the model itself is not robust: {text}"
        severity = Severity.WARNING if hopeless else Severity.NOTE
        yield Finding(severity, "not-robust", result.title, text, figures=figures)
