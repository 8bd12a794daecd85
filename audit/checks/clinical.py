"""Whether the audit can say anything about missed cancers."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.artifacts.contract import known_malignant
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "clinical": Rule(
        "No malignant class is named",
        "The contract of the sets names no class as malignant, so the audit cannot tell whether the engine misses cancers.",
        "Make the sets with a file for --classes that marks the malignant ones. If the task has none, write "
        'clinical = "none" into the policy.',
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS if no class is named as malignant; if the policy gives a reason why there is none, only warn."""
    contract, policy = evidence.inputs.clean.info.contract, evidence.policy
    reason = policy.clinical_reason
    if set(contract.malignant) == set(contract.classes):
        text = "every class is named as malignant: no prediction can be benign, so missed cancers cannot be detected"
        yield Finding(Severity.INCONCLUSIVE, "clinical", None, text)
        return
    if contract.malignant:
        if policy.clinical == "none":
            text = f"malignant classes are named, so their gates apply although the policy says why none is: {reason}"
            yield Finding(Severity.NOTE, "clinical", None, text)
        return
    suspicious = _suspicious(evidence)
    if suspicious:
        named = ", ".join(f'"{name}"' for name in suspicious)
        look = "looks" if len(suspicious) == 1 else "look"
        text = (
            f"no class of the images is marked as malignant, although {', '.join(suspicious)} {look} malignant; write "
            f"malignant = [{named}] into a file, and give it as --classes"
        )
        yield Finding(Severity.INCONCLUSIVE, "clinical", None, text)
        return
    if policy.clinical == "none":
        text = f"no clinical gate was applied: no class is named as malignant. The policy's reason: {reason}"
        yield Finding(Severity.WARNING, "clinical", None, text)
        return
    text = "no class is named as malignant: the audit cannot tell whether the engine misses cancers that its source finds"
    yield Finding(Severity.INCONCLUSIVE, "clinical", None, text)


def _suspicious(evidence: Evidence) -> list[str]:
    """Classes of the images with the name of a malignant diagnosis, or mapped to a column that has one."""
    engine = evidence.inputs.contract
    if engine is None or engine.mapping is None:
        return known_malignant(evidence.inputs.clean.info.contract.classes)
    named = (
        member
        for task in engine.tasks
        for member in task.members
        if known_malignant((member, *(engine.classes[column] for column in task.columns)))
    )
    return list(dict.fromkeys(named))
