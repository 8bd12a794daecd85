"""Whether the images are the test split that the run recorded when its training ended."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.evidence.recorded import NOT_LISTED

ABOUT: About = "sets"
RULES = {
    "test-split": Rule(
        "Images differ from the recorded test split",
        "Images, labels, lesions or sets differ from those that the run recorded when its training ended.",
        "Restore the run's sets. Find out what removed images, changed labels, or renamed classes.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS if images that claim to be the run's own differ from those it recorded; warn about images of other
    runs."""
    recorded = evidence.inputs.recorded
    if recorded is None:
        return
    if recorded.differences:
        differs = "; ".join(recorded.differences)
        if recorded.own:
            text = f"these are not the test images that the run recorded: {differs}"
            yield Finding(Severity.INCONCLUSIVE, "test-split", "clean", text)
        else:
            text = f"these are the test images of a different run, so the run's records cannot confirm them: {differs}"
            yield Finding(Severity.WARNING, "test-split", "clean", text)
    for file, reason in recorded.unlisted.items():
        severity = Severity.WARNING if reason == NOT_LISTED else Severity.INCONCLUSIVE
        text = f"{file} says that it was crafted on this engine's source, but it {reason} in the manifest of the run"
        yield Finding(severity, "test-split", None, text)
