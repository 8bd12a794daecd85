"""Whether images are there more than once."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "repeated-images": Rule(
        "Images that are there more than once",
        "Copies make intervals look narrower than the evidence is.",
        "Leave copies out of the data, or give them the same lesion.",
    ),
}


_COPIES = 0.01
"""Share of copies from which an interval is clearly narrower than the evidence."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn of copies, and forbid PASS where they are many."""
    repeated = evidence.inputs.repeated
    if repeated:
        text = f"{repeated} clean images are copies of others: there is less evidence than the numbers of images say"
        severity = Severity.INCONCLUSIVE if repeated > _COPIES * len(evidence.inputs.clean) else Severity.WARNING
        yield Finding(severity, "repeated-images", "clean", text, figures={"copies": repeated})
