"""Whether the sets are the ones that were measured at the end of training."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.comparison import Comparison

ABOUT: About = "sets"
RULES = {
    "results": Rule(
        "Sets that changed since training",
        "The source model's figures on a set of the run differ from those that training recorded.",
        "Write the sets again with `skinaudit attack`, and find out what changed the images or labels.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS if the source's figures on a set differ from those that training recorded, overall or for a class."""
    recorded = {} if evidence.inputs.recorded is None else evidence.inputs.recorded.figures
    for result in evidence.sets:
        measured = _measured(result.comparison) if result.white_box else {}
        for name, value in recorded.get(result.name, {}).items():
            if name not in measured or abs(measured[name] - value) <= 1e-9:
                continue
            text = (
                f"the source model's {name.replace('_', ' ')} on these images is {measured[name]:.2%}, but training "
                f"recorded {value:.2%}: images or labels were changed"
            )
            figures = {"measured": measured[name], "recorded": value}
            yield Finding(Severity.INCONCLUSIVE, "results", result.title, text, figures=figures)
            break


def _measured(comparison: Comparison) -> dict[str, float]:
    """The source's figures under the names that a run uses."""
    totals = {"accuracy": comparison.source_accuracy, "balanced_accuracy": comparison.source_balanced}
    hits = {f"sensitivity_{figures.name}": figures.source for figures in comparison.classes}
    return {
        **{name: value for name, value in totals.items() if value is not None},
        **{name: value.right / value.count for name, value in hits.items() if value is not None and value.count},
    }
