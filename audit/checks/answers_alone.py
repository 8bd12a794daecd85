"""What an audit can show if only the engine is available and not its model."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "answers-alone": Rule(
        "Judged by its outputs only",
        "The model behind this engine is not available. So the loss by the export is unknown, and no gradient attack could "
        "run.",
        "Audit it together with the run that it was built from, or treat the robust accuracy as an upper bound.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Say what a black-box attack shows about a foreign engine without adversarial sets, and what it does not show.

    It gives an upper bound of robust accuracy: an attacker who only sees outputs got that far. It does not show what a
    gradient attack would find, nor whether the engine still behaves like its model.
    """
    if evidence.inputs.manifest is not None or evidence.attacked:
        return
    probes = [probe for probe in evidence.probes if probe.by_answers]
    results = "; ".join(
        f"under {probe.title} {probe.fresh_accuracy:.1%} of {probe.images:,} images are still classified correctly"
        for probe in probes
    )
    text = (
        f"attacked by its outputs only: {results or 'no such attack ran'}. This is an upper bound of robust accuracy: a "
        "gradient attack finds more. How much the export lost is unknown"
    )
    yield Finding(Severity.WARNING, "answers-alone", None, text)
