"""Whether the images are the test split that the run recorded when its training ended."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.evidence.recorded import NOT_LISTED

ABOUT: About = "sets"
RULES = {
    "test-split": Rule(
        "Other images than the recorded test split",
        "Images, labels, lesions or sets are not those that the run recorded when its training ended.",
        "Restore the run's sets; look who dropped images, changed labels, or renamed classes.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS where images that are said to be the run's own are not those that it recorded; warn of other ones."""
    recorded = evidence.inputs.recorded
    if recorded is None:
        return
    if recorded.differences:
        differs = "; ".join(recorded.differences)
        if recorded.own:
            text = f"these are not the test images that the run recorded: {differs}"
            yield Finding(Severity.INCONCLUSIVE, "test-split", "clean", text)
        else:
            text = f"these are the test images of another run, so the run's records say nothing of them: {differs}"
            yield Finding(Severity.WARNING, "test-split", "clean", text)
    for file, reason in recorded.unlisted.items():
        severity = Severity.WARNING if reason == NOT_LISTED else Severity.INCONCLUSIVE
        text = f"{file} says that it was crafted on this engine's source, and {reason} in its run's manifest"
        yield Finding(severity, "test-split", None, text)
