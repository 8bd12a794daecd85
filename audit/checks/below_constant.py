"""Whether the engine classifies more clean images correctly than a constant answer."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.text import percent

ABOUT: About = "figures"
RULES = {
    "below-constant": Rule(
        "Accuracy below that of a constant answer",
        "Always predicting the most frequent class would classify more of these images correctly than the engine does.",
        "Judge it by balanced accuracy and sensitivities, or find out why it fails on these images.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Say that only agreement with the source is shown; the policy decides whether such an audit may pass.

    This is not a mistake by itself: if one class is very frequent, a model that finds the rare classes loses accuracy.
    """
    clean = evidence.clean.comparison
    if clean.engine_accuracy >= clean.majority_share:
        return
    text = (
        f"accuracy {percent(clean.engine_accuracy)} is below that of always answering {clean.majority_class}, "
        f"{percent(clean.majority_share)}: a PASS would only say that engine and model agree, not that they are good"
    )
    figures = {"accuracy": clean.engine_accuracy, "constant": clean.majority_share}
    severity = Severity.WARNING if evidence.policy.agreement_only == "pass" else Severity.INCONCLUSIVE
    yield Finding(severity, "below-constant", "clean", text, figures=figures)
