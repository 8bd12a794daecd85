"""Whether the lineage leads from the engine back to the data."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "lineage": Rule(
        "Lineage with gaps",
        "The manifest does not name all files that the engine was built from.",
        "Export the engine again from its run, and keep the run beside it.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn about each missing part."""
    gaps = evidence.inputs.lineage_gaps
    if gaps:
        yield Finding(Severity.WARNING, "lineage", None, f"lineage incomplete: no {', '.join(gaps)}")
