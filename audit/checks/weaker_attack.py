"""How much a stronger attack of the same audit takes from the figure of a weaker one."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.text import percent, points

ABOUT: About = "figures"
RULES = {
    "weaker-attack": Rule(
        "A stronger attack leaves less",
        "Two attacks were run with the same eps. A robust accuracy is an upper bound, so only the lower one counts.",
        "Quote the lower robust accuracy, and name its attack.",
    ),
}
_GAP = 0.005
"""Smallest gap in accuracy that is worth a line."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Tell the gap between attacks of many steps that were crafted on the source under one threat model.

    It is a warning if it is wider than the margin that a set may lose.
    """
    judged = [
        (result, accuracy)
        for result in evidence.attacked
        if result.white_box and (accuracy := result.comparison.source_accuracy) is not None
    ]
    for result, accuracy in judged:
        if result.attack == "fgsm":  # its name says that it is weak
            continue
        under_same = [(lower, rival) for rival, lower in judged if (rival.norm, rival.eps) == (result.norm, result.eps)]
        lowest, strongest = min(under_same, key=lambda pair: pair[0])
        if accuracy - lowest < _GAP:
            continue
        text = (
            f"{_name(result)} leaves the source {percent(accuracy)}, {_name(strongest)} only {percent(lowest)}: "
            f"{points(accuracy - lowest)} points less"
        )
        severity = Severity.WARNING if accuracy - lowest > evidence.policy.margin / 100 else Severity.NOTE
        yield Finding(severity, "weaker-attack", result.title, text, figures={"robust": accuracy, "lowest": lowest})


def _name(result: SetResult) -> str:
    """The attack with its budget, such as PGD-40 or SQUARE-5000."""
    budget = result.settings.get("steps", result.settings.get("queries"))
    return result.attack.upper() + ("" if budget is None else f"-{budget}")
