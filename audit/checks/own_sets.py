"""Whether the comparison is fair if each engine was attacked with its own sets."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.fresh_attack import ProbeResult

ABOUT: About = "figures"
RULES = {
    "own-sets": Rule(
        "Each engine was attacked with images crafted against itself",
        "A fair comparison needs an attack that is equally strong on both engines. Masked gradients make it weaker on one.",
        "Run a black-box attack with --probe square. If it finds more, craft the sets again.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Require a black-box attack if engine and baseline were each attacked with their own images.

    A gradient attack finds little if gradients are masked, so the worse engine would look better. Therefore PASS needs a
    fresh black-box attack on this engine. It uses the norm and eps of an own set and must break at least one image. The
    masking check then compares it with the stored sets.
    """
    own_results = [result for result in evidence.sets if result.title in evidence.own_sets]
    if not own_results or evidence.baseline is None:
        return
    titles = ", ".join(result.title for result in own_results)
    text = (
        f"{titles}: each engine was attacked with images crafted against itself, so the comparison with the baseline also "
        "depends on how well the attack works on each; masked gradients make an engine look better than it is"
    )
    yield Finding(Severity.NOTE, "own-sets", None, text)
    least = min(evidence.policy.minimal_images, own_results[0].comparison.images)
    threats = {(result.norm, result.eps) for result in own_results}
    if not any(_shows_strength(probe, threats, least=least) for probe in evidence.probes):
        text = (
            f"no fresh black-box attack on at least {least} images, in the norm and eps of the engine's own sets, broke any "
            "image, so it is not shown that these sets are strong; add --probe square"
        )
        yield Finding(Severity.INCONCLUSIVE, "own-sets", None, text, figures={"least images": least})
    if any(finding.rule == "masking" for finding in evidence.baseline.report.findings):
        text = (
            "the baseline's own audit found masked gradients: the baseline may look more robust than it is, so an apparent "
            "loss may not be real"
        )
        yield Finding(Severity.WARNING, "own-sets", None, text)


def _shows_strength(probe: ProbeResult, threats: Collection[tuple[str | None, str | None]], *, least: int) -> bool:
    return (
        probe.by_answers
        and not probe.small
        and (probe.norm, probe.eps) in threats
        and probe.images >= least
        and probe.fresh_accuracy < probe.clean_accuracy
    )
