"""From figures to a verdict. A wrong PASS is the worst that can happen here, so PASS has to be earned by every rule."""

from __future__ import annotations

from collections.abc import Sequence

from skinaudit.audit.checks import Finding, Severity
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.text import margin_text
from skinaudit.audit.judgement.loosened import loosened
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Gate, Verdict


def exit_code(verdict: Verdict) -> int:
    """0 pass, 1 fail, 3 inconclusive; 2 is kept for unusable input."""
    return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3}[verdict]


def conclude(
    sets: Sequence[SetResult], gates: Sequence[Gate], findings: Sequence[Finding], policy: Policy
) -> tuple[Verdict, str]:
    """The overall verdict and its reason in one sentence, which also tells of a policy far wider than the default and of a
    source that has no robustness to lose.

    FAIL if any gate or finding fails. INCONCLUSIVE if a binding gate or a finding is. PASS only if all that were compared
    pass, among them the clean set and at least one white-box adversarial set, each with enough images.
    """
    verdict, reason = _concluded(sets, gates, findings, policy)
    only = "agreement only: the source keeps nothing under attack" if agreement_only(findings) else ""
    notes = [only if "agreement only" not in reason else "", _below_constant(findings, reason), loosened(policy)]
    return verdict, "; ".join((reason, *(note for note in notes if note)))


def agreement_only(findings: Sequence[Finding]) -> bool:
    """Whether the source keeps no robustness under any threat model, so that only agreement can be shown."""
    return any(finding.rule == "agreement-only" and finding.set is None for finding in findings)


def _below_constant(findings: Sequence[Finding], reason: str) -> str:
    """That the engine is less often right than a constant answer, in one clause; empty where it is not, or told already."""
    below = next((finding for finding in findings if finding.rule == "below-constant"), None)
    return "" if below is None or below.text in reason else BELOW_CONSTANT


BELOW_CONSTANT = "agreement only: less often right on clean images than a constant answer"
"""What every report says first of an engine whose accuracy lies below that of the majority class."""


def _concluded(
    sets: Sequence[SetResult], gates: Sequence[Gate], findings: Sequence[Finding], policy: Policy
) -> tuple[Verdict, str]:
    for verdict, severity in ((Verdict.FAIL, Severity.FAIL), (Verdict.INCONCLUSIVE, Severity.INCONCLUSIVE)):
        forcing = [finding for finding in findings if finding.severity is severity]
        if forcing:
            return verdict, _reason(forcing)
        open_gates = [gate for gate in gates if gate.judgement.verdict is verdict]
        titles = [gate.set for gate in open_gates if gate.binding or verdict is Verdict.FAIL]
        if titles:
            return verdict, f"{', '.join(dict.fromkeys(titles))}: see the gates"
    decided = {gate.set for gate in gates if gate.rule == "drop" and gate.judgement.verdict is Verdict.PASS}
    judged = [result for result in sets if result.title in decided]
    lacking = _lacking(judged, policy)
    if lacking:
        return Verdict.INCONCLUSIVE, lacking
    return Verdict.PASS, _passed(sets, judged, gates, findings, policy)


def contradiction(sets: Sequence[SetResult], gates: Sequence[Gate], policy: Policy) -> str:
    """What a report says of its gates that its own figures rule out, in one clause; empty where nothing is."""
    for gate in gates:
        possible = _possible(gate, policy)
        if gate.judgement.verdict not in possible:
            found = gate.judgement.verdict.value
            return (
                f"the gate {gate.rule} of {gate.set} is {found}, by its figures {' or '.join(one.value for one in possible)}"
            )
    judged = {(gate.rule, gate.set) for gate in gates}
    for result in sets:
        accuracy, malignant = result.comparison.drop, result.comparison.malignant_drop
        for rule, drop, what in (("drop", accuracy, "drop"), ("malignant-sensitivity", malignant, "malignant images")):
            if drop is not None and (rule, result.title) not in judged:
                return f"{result.title} was compared, and no gate judges its {what}"
    return ""


def _possible(gate: Gate, policy: Policy) -> tuple[Verdict, ...]:
    """The verdicts that a gate's own figures allow; too few images or the bootstrap may forbid a PASS."""
    if gate.counts:
        return (Verdict.PASS if gate.value <= gate.limit else Verdict.FAIL,)
    shown = gate.rule != "subgroup-drop" or gate.value >= gate.limit  # a subgroup's has two conditions
    if gate.p_value is not None and gate.p_value < policy.alpha and shown:
        return (Verdict.FAIL,)
    interval = gate.interval
    holds = interval is not None and (interval.low >= gate.limit if gate.rule == "floor" else interval.high < gate.limit)
    return (Verdict.PASS, Verdict.INCONCLUSIVE) if holds else (Verdict.INCONCLUSIVE,)


def _lacking(judged: Sequence[SetResult], policy: Policy) -> str:
    """Why the sets whose gates passed are no evidence yet; empty where they are."""
    if not judged:
        return "no set was compared with a source model; nothing is judged"
    enough = [result for result in judged if result.comparison.images >= policy.minimal_images]
    if not any(result.clean for result in enough):
        return f"no clean set of at least {policy.minimal_images} images was compared"
    if not any(result.white_box and not result.clean for result in enough):
        return "no white-box adversarial set was compared: nothing is known of its robustness"
    return ""


def _passed(
    sets: Sequence[SetResult],
    judged: Sequence[SetResult],
    gates: Sequence[Gate],
    findings: Sequence[Finding],
    policy: Policy,
) -> str:
    text = f"{len(judged)} sets hold within {margin_text(policy.margin)} points of the source model"
    if len(judged) < len(sets):
        text += f"; {len(sets) - len(judged)} not compared"
    within_baseline = sum(gate.rule == "baseline-drop" and gate.subject == "accuracy" for gate in gates)
    if within_baseline:
        own_note = " (own sets)" if any(finding.rule == "own-sets" for finding in findings) else ""
        text += f", {within_baseline} within {margin_text(policy.baseline_margin)} of the baseline{own_note}"
    warnings = sum(finding.severity is Severity.WARNING for finding in findings)
    return f"{text}; {warnings} warning{'s' * (warnings > 1)} above" if warnings else text


def _reason(findings: Sequence[Finding]) -> str:
    first = findings[0]
    where = f"{first.set}: " if first.set else ""
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{where}{first.text}{more}"
