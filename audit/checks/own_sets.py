"""Whether a comparison on sets of each engine's own is a fair one."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.fresh_attack import ProbeResult

ABOUT: About = "figures"
RULES = {
    "own-sets": Rule(
        "Each engine was attacked with images made against itself",
        "Against the baseline, the attack has to work as well on either engine; where gradients are masked, it does not.",
        "Attack the engine by its answers alone with --probe square; where that finds more, craft the sets again.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Require an attack by answers alone where engine and baseline were each attacked with their own images.

    A gradient attack finds little where gradients are masked, so the worse engine would look better. PASS therefore needs a
    fresh attack on this engine by its answers alone. It uses the norm and eps of an own set and must break an image. The
    check of masking then compares it with the stored sets.
    """
    own_results = [result for result in evidence.sets if result.title in evidence.own_sets]
    if not own_results or evidence.baseline is None:
        return
    text = (
        f"{', '.join(result.title for result in own_results)}: each engine was attacked with images made against itself, so "
        "the comparison with the baseline also depends on how well the attack works on each: masked gradients, which the "
        "checks of masking and fresh attacks look for, flatter an engine"
    )
    yield Finding(Severity.NOTE, "own-sets", None, text)
    least = min(evidence.policy.minimal_images, own_results[0].comparison.images)
    threats = {(result.norm, result.eps) for result in own_results}
    if not any(_shows_strength(probe, threats, least=least) for probe in evidence.probes):
        text = (
            f"no fresh attack by this engine's answers alone broke any of at least {least} images in the norm and eps of "
            "its own sets: nothing shows that these are as strong as they look; add --probe square"
        )
        yield Finding(Severity.INCONCLUSIVE, "own-sets", None, text, figures={"least images": least})
    if any(finding.rule == "masking" for finding in evidence.baseline.report.findings):
        text = (
            "the baseline's own audit tells of masked gradients: it may look more robust than it is, so an apparent loss "
            "may not be real"
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
