"""Whether the stored attacks are as strong as they claim to be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skinaudit.artifacts.attack_record import LEAST_KEPT, LEAST_SPENT
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "attack-strength": Rule(
        "An attack that has no effect",
        "The adversarial set equals the clean set, uses little of its eps, or the source is more accurate on it than on "
        "clean.",
        "Craft the set again on this model with `skinaudit attack`.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS for sets that are weaker than they claim to be."""
    for result, spent in zip(evidence.attacked, evidence.inputs.spent, strict=True):
        share = float(np.median(spent))
        if share < LEAST_SPENT:
            text = f"half of the images use at most {share:.0%} of the stated eps: the attack is weaker than stated"
            yield _weak(result.title, text, spent=share)
    for result, adversarial in zip(evidence.attacked, evidence.inputs.adversarial, strict=True):
        kept = 1.0 if adversarial.attack is None else float(np.median(adversarial.attack.kept))
        if kept < LEAST_KEPT:
            text = (
                f"after rounding to 8 bit, half of the images keep at most {kept:.0%} of the perturbation's effect: the "
                "attack is weaker than stated"
            )
            yield _weak(result.title, text, kept=kept)
    clean = evidence.clean
    for result in evidence.attacked:
        if result.images_digest == clean.images_digest:
            text = "these are the clean images without any perturbation: the attack has no effect; craft the set again"
            yield _weak(result.title, text)
        source, source_clean = result.comparison.source_accuracy, clean.comparison.source_accuracy
        if result.white_box and source is not None and source_clean is not None and source > source_clean:
            text = (
                f"the source model is more accurate here ({source:.1%}) than on clean images ({source_clean:.1%}): the "
                "attack has no effect; craft the set again"
            )
            yield _weak(result.title, text, source=source, source_clean=source_clean)


def _weak(title: str, text: str, **figures: float) -> Finding:
    return Finding(Severity.INCONCLUSIVE, "attack-strength", title, text, figures=figures)
