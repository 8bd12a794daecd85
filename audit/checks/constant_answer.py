"""Whether the engine is better than a constant answer."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "constant-answer": Rule(
        "Not better than a constant answer",
        "Balanced accuracy on the clean images cannot be distinguished from that of always answering one class.",
        "Check that the engine is the trained model, with the same preprocessing. A model that learnt nothing cannot pass.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL if balanced accuracy is not above that of a constant answer; forbid PASS if the difference may be chance."""
    clean = evidence.clean.comparison
    constant = clean.constant_balanced
    lower = sum(class_result.engine_interval.low for class_result in clean.classes) / clean.classes_present
    figures = {"balanced": clean.engine_balanced, "lower": lower, "constant": constant}
    if clean.engine_balanced <= constant and clean.classes_present > 1:
        text = f"balanced accuracy {clean.engine_balanced:.1%} is not above that of a constant answer, {constant:.1%}"
        yield Finding(Severity.FAIL, "constant-answer", "clean", text, figures=figures)
    elif lower <= constant:
        text = (
            f"balanced accuracy {clean.engine_balanced:.1%} (mean lower bound {lower:.1%}) cannot be distinguished from "
            f"that of a constant answer, {constant:.1%}"
        )
        yield Finding(Severity.INCONCLUSIVE, "constant-answer", "clean", text, figures=figures)
