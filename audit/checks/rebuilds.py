"""Whether two builds of the same engine can be different classifiers."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "rebuilds": Rule(
        "Differences between builds of this engine",
        "Several builds from the same graph were compared. A new build may predict different classes for some images.",
        "Keep and ship the file that was audited. If builds differ by more than the margin, audit each one that you ship.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS if two builds differ on at least as many clean images as the margin allows to lose."""
    rebuilds = evidence.inputs.rebuilds
    if rebuilds is None:
        return
    text = f"{rebuilds.builds} builds gave {rebuilds.files} different files"
    if rebuilds.flips is None:
        yield Finding(Severity.NOTE, "rebuilds", "clean", f"{text}; they could not run on the machine that built them")
        return
    text += f"; any two of them differ on at most {rebuilds.flips} of {rebuilds.images} clean images"
    unstable = 100 * rebuilds.flips >= evidence.policy.margin * rebuilds.images
    figures = {"builds": rebuilds.builds, "files": rebuilds.files, "flips": rebuilds.flips, "images": rebuilds.images}
    yield Finding(Severity.INCONCLUSIVE if unstable else Severity.NOTE, "rebuilds", "clean", text, figures=figures)
