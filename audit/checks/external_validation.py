"""Whether the figures on external images agree with those on the run's own test images."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS
from skinaudit.audit.figures.external import BALANCED, SAME_MALIGNANT
from skinaudit.audit.figures.text import percent, signed_points

ABOUT: About = "figures"
RULES = {
    "external-validation": Rule(
        "Figures on external images differ by more than chance",
        "The model's figures on these images differ from those on its own test images by more than chance explains.",
        "Do not use the figures of the own test for such images. Train on images like these, or restrict the use.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn about differences that chance does not explain; forbid PASS if the model does not work on these images.

    A model does not work if two things are shown: its accuracy is below that of a constant answer, and it is worse than on
    its own test in balanced accuracy or in malignant images called malignant. A different mix of classes alone does not
    explain both. An engine that agrees with such a model is useless there.
    """
    result = evidence.external
    if result is None:
        return
    pooled = {figure.set for figure in result.figures if figure.figure == MALIGNANT_CALLS and not figure.by_chance}
    for figure in result.figures:
        if figure.own is None or figure.interval is None or figure.by_chance:
            continue
        if figure.figure == SAME_MALIGNANT and figure.set in pooled:
            continue  # already reported
        text = (
            f"{figure.figure} of the model is {percent(figure.external.value)} on these images and "
            f"{percent(figure.own.value)} on its own test: the difference is {signed_points(figure.interval.low)} to "
            f"{signed_points(figure.interval.high)} points, more than chance explains"
        )
        figures = {"external": figure.external.value, "own": figure.own.value}
        yield Finding(Severity.WARNING, "external-validation", figure.set, text, figures=figures)
    clean = evidence.clean.comparison
    several = sum(kind.malignant for kind in clean.classes) > 1
    # Figures that do not depend on the share of each class.
    of_classes = (BALANCED, SAME_MALIGNANT if several else MALIGNANT_CALLS)
    worse = [
        figure.figure
        for figure in result.figures
        if figure.set == evidence.clean.title and figure.figure in of_classes and figure.interval and figure.interval.low > 0
    ]
    if worse and clean.engine_accuracy_interval.high < clean.majority_share:
        text = (
            f"accuracy {percent(clean.engine_accuracy)} is below that of always answering {clean.majority_class}, "
            f"{percent(clean.majority_share)}, and {' and '.join(worse)} {'is' if len(worse) == 1 else 'are'} below that of "
            "the own test: the model does not work on these images, so agreement with it proves nothing"
        )
        yield Finding(Severity.INCONCLUSIVE, "external-validation", "clean", text)
