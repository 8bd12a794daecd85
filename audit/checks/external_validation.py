"""Whether the figures on external images are those of the run's own test."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.external import BALANCED
from skinaudit.audit.figures.text import percent

ABOUT: About = "figures"
RULES = {
    "external-validation": Rule(
        "Figures on external images that chance does not explain",
        "On these images the model scores otherwise than on its own test images, by more than chance explains.",
        "Do not carry the figures of the own test over to these images; train on images like these, or restrict its use.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn of figures outside of what chance explains; forbid PASS for a model that is lost on these images.

    Lost: its accuracy is shown to be below that of a constant answer, and its balanced accuracy below that of its own test.
    An engine that agrees with such a model is of no use there, and a mix of classes alone explains neither.
    """
    result = evidence.external
    if result is None:
        return
    for figure in result.figures:
        if figure.own is None or figure.interval is None or figure.by_chance:
            continue
        text = (
            f"the model's {figure.figure} is {percent(figure.external.value)} on these images, on its own test "
            f"{percent(figure.own.value)}: {100 * figure.interval.low:+.1f} to {100 * figure.interval.high:+.1f} points of "
            "difference, more than chance explains"
        )
        figures = {"external": figure.external.value, "own": figure.own.value}
        yield Finding(Severity.WARNING, "external-validation", figure.set, text, figures=figures)
    clean = evidence.clean.comparison
    worse = any(
        figure.set == evidence.clean.title and figure.figure == BALANCED and figure.interval and figure.interval.low > 0
        for figure in result.figures
    )
    if worse and clean.engine_accuracy_interval.high < clean.majority_share:
        text = (
            f"accuracy {percent(clean.engine_accuracy)} is below that of always answering {clean.majority_class}, "
            f"{percent(clean.majority_share)}, and balanced accuracy is below that of the own test: the model does not work "
            "on these images, so agreement with it is worth nothing"
        )
        yield Finding(Severity.INCONCLUSIVE, "external-validation", "clean", text)
