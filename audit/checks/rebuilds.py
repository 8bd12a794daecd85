"""Whether another build of the same engine would be another classifier."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "rebuilds": Rule(
        "How one build differs from the next",
        "Builds of this engine from the same graph were compared; another build may answer some images otherwise.",
        "Keep and ship the file that was audited; where builds differ by more than the margin, audit each that ships.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS where two builds differ on as many clean images as the margin allows to lose."""
    rebuilds = evidence.inputs.rebuilds
    if rebuilds is None:
        return
    text = f"{rebuilds.builds} builds gave {rebuilds.files} different files"
    if rebuilds.flips is None:
        yield Finding(Severity.NOTE, "rebuilds", "clean", f"{text}, which could not run where they were built")
        return
    text += f", and any two answer at most {rebuilds.flips} of {rebuilds.images} clean images otherwise"
    unstable = 100 * rebuilds.flips >= evidence.policy.margin * rebuilds.images
    figures = {"builds": rebuilds.builds, "files": rebuilds.files, "flips": rebuilds.flips, "images": rebuilds.images}
    yield Finding(Severity.INCONCLUSIVE if unstable else Severity.NOTE, "rebuilds", "clean", text, figures=figures)
