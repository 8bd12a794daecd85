"""What it means for the figures that the engine has other classes than the sets."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "class-mapping": Rule(
        "Judged by classes that are not those of the sets",
        "The contract brings the engine's columns together with the classes of the sets; figures are of the engine's.",
        "Compare it only with engines that were judged by the same mapping. For strong attacks, craft sets on a model of "
        "the engine's own classes.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Say how classes were brought together, and what that does to attacks that aimed at the classes of the sets."""
    inputs = evidence.inputs
    if inputs.contract is None or inputs.contract.mapping is None:
        return
    tasks = inputs.contract.tasks
    groups = "; ".join(f"{task.name} is {', '.join(task.members)}" for task in tasks if task.members)
    unused = [task.name for task in tasks if not task.members]
    text = f"by the contract {groups}"
    if unused:
        text += f"; {', '.join(unused)} is no class of the sets, and an answer there is wrong"
    yield Finding(Severity.NOTE, "class-mapping", None, text)
    if any(len(task.members) > 1 for task in tasks):
        text = (
            "the stored attacks aimed at the classes of the sets: where they only exchange classes that are one here they "
            "count for nothing, so robust accuracy may be overstated; the fresh attack aims at the engine's own classes"
        )
        yield Finding(Severity.WARNING, "class-mapping", None, text)
