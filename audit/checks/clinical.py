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
    if set(contract.malignant) == set(contract.classes):
        text = "every class is named as malignant: no prediction can be benign, so missed cancers cannot be detected"
        yield Finding(Severity.INCONCLUSIVE, "clinical", None, text)
        return
    if contract.malignant:
        return
    suspicious = known_malignant(contract.classes)
    if suspicious:
        text = (
            f"no class is named as malignant, although {', '.join(suspicious)} looks malignant; mark it in a file for "
            f'--classes, such as malignant = ["{suspicious[0]}"]'
        )
        yield Finding(Severity.INCONCLUSIVE, "clinical", None, text)
        return
    if policy.clinical == "none":
        text = f"no clinical gate was applied: no class is named as malignant. The policy's reason: {policy.clinical_reason}"
        yield Finding(Severity.WARNING, "clinical", None, text)
        return
    text = "no class is named as malignant: the audit cannot tell whether the engine misses cancers that its source finds"
    yield Finding(Severity.INCONCLUSIVE, "clinical", None, text)
