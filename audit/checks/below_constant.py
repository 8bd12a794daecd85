"""Whether the engine names more clean images rightly than a constant answer would."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.text import percent

ABOUT: About = "figures"
RULES = {
    "below-constant": Rule(
        "Accuracy below that of a constant answer",
        "Always answering the most frequent class would name more of these images rightly than the engine does.",
        "Judge it by balanced accuracy and sensitivities, or find out why it fails on these images.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Say that only agreement with the source is shown; the policy decides whether that may pass.

    No mistake by itself: where one class is frequent, a model that finds the rare ones pays for it in accuracy.
    """
    clean = evidence.clean.comparison
    if clean.engine_accuracy >= clean.majority_share:
        return
    text = (
        f"accuracy {percent(clean.engine_accuracy)} is below that of always answering {clean.majority_class}, "
        f"{percent(clean.majority_share)}: a PASS would say that engine and model agree, not that they are good"
    )
    figures = {"accuracy": clean.engine_accuracy, "constant": clean.majority_share}
    severity = Severity.WARNING if evidence.policy.agreement_only == "pass" else Severity.INCONCLUSIVE
    yield Finding(severity, "below-constant", "clean", text, figures=figures)
