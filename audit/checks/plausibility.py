"""Whether a foreign engine seems to be fed and read as it was trained."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "plausibility": Rule(
        "A foreign engine whose answers look misread",
        "Its figures on the clean images look as if pixels or columns mean something else than its contract says.",
        "Check scale, mean, std, colour and the order of classes in the contract.",
    ),
}


_ALMOST_ALL = 0.95
_ADVICE = "check scale, mean, std, colour and the order of classes in the contract"


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS where the figures look as if the contract were wrong.

    None of this proves a mistake: a wrong scaling or order of classes gives figures that look like a poor model's.
    """
    if evidence.inputs.manifest is not None:
        return
    comparison = evidence.clean.comparison
    if comparison.engine_accuracy <= comparison.majority_share:
        yield _doubt(
            f"accuracy {comparison.engine_accuracy:.1%} is not above that of always answering {comparison.majority_class}, "
            f"{comparison.majority_share:.1%}"
        )
    if comparison.top_answer_share >= _ALMOST_ALL:
        yield _doubt(f"{comparison.top_answer} takes {comparison.top_answer_share:.1%} of all answers")
    if comparison.better_order is not None:
        yield _doubt(f"the answers fit the labels far better if they are read as {', '.join(comparison.better_order)}")


def _doubt(text: str) -> Finding:
    return Finding(Severity.INCONCLUSIVE, "plausibility", "clean", f"{text}; {_ADVICE}")
