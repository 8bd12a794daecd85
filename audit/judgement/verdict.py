"""From figures to a verdict. A wrong PASS is the worst possible mistake, so every rule must agree before an audit passes."""

from __future__ import annotations

from collections.abc import Sequence

from skinaudit.audit.checks import Finding, Severity
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.text import margin_text
from skinaudit.audit.judgement.loosened import loosened
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Gate, Verdict


def exit_code(verdict: Verdict) -> int:
    """0 pass, 1 fail, 3 inconclusive; 2 is reserved for unusable input."""
    return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3}[verdict]


def conclude(
    sets: Sequence[SetResult], gates: Sequence[Gate], findings: Sequence[Finding], policy: Policy
) -> tuple[Verdict, str]:
    """The overall verdict and its reason in one line.

    FAIL if any gate or finding fails. INCONCLUSIVE if a binding gate or a finding is inconclusive. PASS only if every
    compared set passes. The clean set and at least one white-box adversarial set must be among them, each with enough
    images. The reason also says if the policy is far wider than the default, or if the source has no robustness to lose.
    """
    verdict, reason = _concluded(sets, gates, findings, policy)
    only = f"{ONLY}the source model is not robust" if agreement_only(findings) and ONLY not in reason else ""
    below = _below_constant(findings, reason)
    notes = [only, below.removeprefix(ONLY) if only or ONLY in reason else below, loosened(policy)]
    return verdict, "; ".join((reason, *(note for note in notes if note)))


def agreement_only(findings: Sequence[Finding]) -> bool:
    """Whether the source is not robust under any threat model, so that the audit can only show agreement."""
    return any(finding.rule == "agreement-only" and finding.set is None for finding in findings)


def _below_constant(findings: Sequence[Finding], reason: str) -> str:
    """A clause that the engine is less accurate than a constant answer; empty if it is not, or if the reason says so."""
    below = next((finding for finding in findings if finding.rule == "below-constant"), None)
    return "" if below is None or below.text in reason else BELOW_CONSTANT


ONLY = "agreement only: "
BELOW_CONSTANT = f"{ONLY}less accurate on clean images than a constant answer"
"""The first line of every report on an engine whose accuracy is below that of the majority class."""


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
    lacking = _missing_evidence(judged, policy)
    if lacking:
        return Verdict.INCONCLUSIVE, lacking
    return Verdict.PASS, _passed(sets, judged, gates, findings, policy)


def contradiction(sets: Sequence[SetResult], gates: Sequence[Gate], policy: Policy) -> str:
    """A clause that names a gate whose verdict contradicts the report's own figures; empty if there is none."""
    for gate in gates:
        possible = _possible(gate, policy)
        if gate.judgement.verdict not in possible:
            reported, allowed = gate.judgement.verdict.value, " or ".join(verdict.value for verdict in possible)
            return f"the gate {gate.rule} of {gate.set} is {reported}, but its figures say {allowed}"
    judged = {(gate.rule, gate.set) for gate in gates}
    for result in sets:
        accuracy, malignant = result.comparison.drop, result.comparison.malignant_drop
        for rule, drop, figure in (("drop", accuracy, "drop"), ("malignant-sensitivity", malignant, "malignant images")):
            if drop is not None and (rule, result.title) not in judged:
                return f"{result.title} was compared, but no gate judges its {figure}"
    return ""


def _possible(gate: Gate, policy: Policy) -> tuple[Verdict, ...]:
    """The verdicts that a gate's own figures allow; too few images or the bootstrap may forbid a PASS."""
    if gate.counts:
        return (Verdict.PASS if gate.value <= gate.limit else Verdict.FAIL,)
    shown = gate.rule != "subgroup-drop" or gate.value >= gate.limit  # a gate of a subgroup has two conditions
    if gate.p_value is not None and gate.p_value < policy.alpha and shown:
        return (Verdict.FAIL,)
    interval = gate.interval
    holds = interval is not None and (interval.low >= gate.limit if gate.rule == "floor" else interval.high < gate.limit)
    return (Verdict.PASS, Verdict.INCONCLUSIVE) if holds else (Verdict.INCONCLUSIVE,)


def _missing_evidence(judged: Sequence[SetResult], policy: Policy) -> str:
    """Why the sets whose gates passed are not enough for a PASS; empty if they are enough."""
    if not judged:
        return "no set was compared with a source model, so nothing was judged"
    enough = [result for result in judged if result.comparison.images >= policy.minimal_images]
    if not any(result.clean for result in enough):
        return f"no clean set of at least {policy.minimal_images} images was compared"
    if not any(result.white_box and not result.clean for result in enough):
        return "no white-box adversarial set was compared, so nothing is known about robustness"
    return ""


def _passed(
    sets: Sequence[SetResult],
    judged: Sequence[SetResult],
    gates: Sequence[Gate],
    findings: Sequence[Finding],
    policy: Policy,
) -> str:
    text = f"{len(judged)} sets are within {margin_text(policy.margin)} points of the source model"
    if len(judged) < len(sets):
        text += f"; {len(sets) - len(judged)} not compared"
    within_baseline = sum(gate.rule == "baseline-drop" and gate.figure == "accuracy" for gate in gates)
    if within_baseline:
        own_note = " (own sets)" if any(finding.rule == "own-sets" for finding in findings) else ""
        text += f", {within_baseline} within {margin_text(policy.baseline_margin)} of the baseline{own_note}"
    warnings = sum(finding.severity is Severity.WARNING for finding in findings)
    return f"{text}; {warnings} warning{'s' * (warnings > 1)}" if warnings else text


def _reason(findings: Sequence[Finding]) -> str:
    first = findings[0]
    where = f"{first.set}: " if first.set else ""
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{where}{first.text}{more}"
