"""What it means for the figures if the classes of the engine differ from those of the sets."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "class-mapping": Rule(
        "Judged by classes that differ from those of the sets",
        "The contract maps the classes of the sets to the classes of the engine. All figures use the engine's classes.",
        "Compare it only with engines that were judged with the same mapping. For strong attacks, craft sets on a model "
        "with the engine's own classes.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Say how the classes were mapped, and what this means for attacks that aimed at the classes of the sets."""
    inputs = evidence.inputs
    if inputs.contract is None or inputs.contract.mapping is None:
        return
    tasks = inputs.contract.tasks
    groups = "; ".join(f"{task.name} is {', '.join(task.members)}" for task in tasks if task.members)
    unused = [task.name for task in tasks if not task.members]
    text = f"class mapping of the contract: {groups}"
    if unused:
        counts = "predicting this class counts" if len(unused) == 1 else "predicting these classes counts"
        text += f"; the sets have no {', '.join(unused)}, so {counts} as wrong"
    yield Finding(Severity.NOTE, "class-mapping", None, text)
    if inputs.adversarial and any(len(task.members) > 1 for task in tasks):
        text = (
            "the stored attacks aimed at the classes of the sets: swapping two classes that the mapping merges has no "
            "effect, so robust accuracy may be overstated; the fresh attack aims at the engine's own classes"
        )
        yield Finding(Severity.WARNING, "class-mapping", None, text)
