"""Whether the sets have images of every class."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "class-absent": Rule(
        "Classes without an image",
        "The sets hold no image of some class, so nothing is known of the engine there.",
        "Use sets with images of every class of the contract.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS where a class has no image; of external images, which the run's own test completes, a malignant class."""
    contract = evidence.inputs.contract
    unused = {task.name for task in contract.tasks if not task.members} if contract is not None else set()
    absent = [name for name in evidence.clean.comparison.classes_absent if name not in unused]
    if absent:
        text = f"no image of {', '.join(absent)}: nothing is known of the engine there"
        malignant = set(absent) & set(evidence.inputs.clean.info.contract.malignant)
        severity = Severity.INCONCLUSIVE if evidence.external is None or malignant else Severity.WARNING
        yield Finding(severity, "class-absent", "clean", text)
