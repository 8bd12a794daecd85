"""Whether the sets have images of every class."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "class-absent": Rule(
        "Classes without images",
        "The sets contain no image of at least one class, so nothing is known about the engine on this class.",
        "Use sets with images of every class of the contract.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS if a class has no image. For external images only a missing malignant class forbids it, because the audit
    on the run's own test images covers the rest."""
    contract = evidence.inputs.contract
    unused = {task.name for task in contract.tasks if not task.members} if contract is not None else set()
    absent = [name for name in evidence.clean.comparison.classes_absent if name not in unused]
    if absent:
        text = f"no image of {', '.join(absent)}: nothing is known about the engine on these classes"
        malignant = set(absent) & set(evidence.inputs.clean.info.contract.malignant)
        severity = Severity.INCONCLUSIVE if evidence.external is None or malignant else Severity.WARNING
        yield Finding(severity, "class-absent", "clean", text)
