"""Whether the sets are those that the run's training measured."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.comparison import Comparison

ABOUT: About = "sets"
RULES = {
    "results": Rule(
        "Sets that are not those that were measured",
        "The source model scores otherwise on a set of the run than the run's training wrote down.",
        "Write the sets again with `skinaudit attack`, and look who changed images or labels.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS where the source scores otherwise on a set than its training wrote down, overall or on a class."""
    recorded = {} if evidence.inputs.recorded is None else evidence.inputs.recorded.figures
    for result in evidence.sets:
        measured = _measured(result.comparison) if result.white_box else {}
        for name, value in recorded.get(result.name, {}).items():
            if name not in measured or abs(measured[name] - value) <= 1e-9:
                continue
            text = (
                f"the source model's {name.replace('_', ' ')} on these images is {measured[name]:.2%}, its training "
                f"measured {value:.2%}: images or labels are not those that were measured"
            )
            figures = {"measured": measured[name], "recorded": value}
            yield Finding(Severity.INCONCLUSIVE, "results", result.title, text, figures=figures)
            break


def _measured(comparison: Comparison) -> dict[str, float]:
    """The source's figures by the names that a run gives them."""
    totals = {"accuracy": comparison.source_accuracy, "balanced_accuracy": comparison.source_balanced}
    hits = {f"sensitivity_{figures.name}": figures.source for figures in comparison.classes}
    return {
        **{name: value for name, value in totals.items() if value is not None},
        **{name: value.right / value.count for name, value in hits.items() if value is not None and value.count},
    }
