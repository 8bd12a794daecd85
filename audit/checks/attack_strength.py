"""Whether the attacks attack."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skinaudit.artifacts.attack_record import LEAST_KEPT, LEAST_SPENT
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "attack-strength": Rule(
        "An attack that does not attack",
        "The adversarial set is the clean one, spends little of its eps, or its source does better on it than when clean.",
        "Craft the set again on this model with `skinaudit attack`.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS for sets that are weaker than their names."""
    for result, spent in zip(evidence.attacked, evidence.inputs.spent, strict=True):
        share = float(np.median(spent))
        if share < LEAST_SPENT:
            text = f"half of the images spend no more than {share:.0%} of the stated eps: the attack is weaker than its name"
            yield _weak(result.title, text, spent=share)
    for result, adversarial in zip(evidence.attacked, evidence.inputs.adversarial, strict=True):
        kept = 1.0 if adversarial.attack is None else float(np.median(adversarial.attack.kept))
        if kept < LEAST_KEPT:
            text = (
                f"rounding to 8 bit left half of the images no more than {kept:.0%} of the perturbation's effect: the "
                "attack is weaker than its name"
            )
            yield _weak(result.title, text, kept=kept)
    clean = evidence.clean
    for result in evidence.attacked:
        if result.images_digest == clean.images_digest:
            text = "these are the clean images, unperturbed: the attack does not attack; craft the set again"
            yield _weak(result.title, text)
        source, source_clean = result.comparison.source_accuracy, clean.comparison.source_accuracy
        if result.white_box and source is not None and source_clean is not None and source > source_clean:
            text = (
                f"the source model is better here ({source:.1%}) than on clean images ({source_clean:.1%}): the attack does "
                "not attack; craft the set again"
            )
            yield _weak(result.title, text, source=source, source_clean=source_clean)


def _weak(title: str, text: str, **figures: float) -> Finding:
    return Finding(Severity.INCONCLUSIVE, "attack-strength", title, text, figures=figures)
