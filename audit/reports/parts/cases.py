"""The single questions behind a verdict, with their answers. Reports for machines count them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from skinaudit.audit.checks import Finding, Severity
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS
from skinaudit.audit.figures.text import margin_text, percent, power_text, span
from skinaudit.audit.figures.text import signed_points as points
from skinaudit.audit.judgement.result import AuditResult, Gate, Verdict
from skinaudit.audit.reports.parts.wording import TURNED, shown_interval

_OF_SEVERAL = ("baseline-drop", "probe-drop")
"""Gates of accuracy, and of malignant images called malignant."""
_FORCED = {Severity.FAIL: Verdict.FAIL, Severity.INCONCLUSIVE: Verdict.INCONCLUSIVE}


@dataclass(frozen=True)
class Case:
    """A gate, or a rule with findings in one set or in the whole audit (set is None), with everything said about it.

    outcome: None if the question was not answered and the verdict does not depend on it: a gate that does not bind, or a
    finding that only warns. figures: what was measured, with its bound. findings: what the audit says about it.
    """

    rule: str
    set: str | None
    subject: str | None
    outcome: Verdict | None
    figures: str
    findings: tuple[Finding, ...]

    @property
    def name(self) -> str:
        """The rule and, if a set has several cases of it, their subject."""
        return f"{self.rule} {self.subject}" if self.subject else self.rule

    @property
    def text(self) -> str:
        """The findings; the figures if there are none."""
        return "; ".join(finding.text for finding in self.findings) or self.figures


def cases(result: AuditResult) -> tuple[Case, ...]:
    """The cases of the whole audit, then those of each set and of each probe.

    Invariants: every finding is in exactly one case; a case with a finding that forces a verdict has that outcome; every
    gate of the audit is a case.
    """
    titles = [entry.title for entry in result.sets] + [entry.title for entry in result.probes]
    all_cases = list(_by_rule([finding for finding in result.findings if finding.set not in titles], set_title=None))
    for title in titles:
        remaining = [finding for finding in result.findings if finding.set == title]
        for gate in (gate for gate in result.gates if gate.set == title):
            about = (gate.rule, gate.subject, gate.lesion_class)
            gate_findings = [finding for finding in remaining if (finding.rule, finding.gate, finding.lesion_class) == about]
            remaining = [finding for finding in remaining if finding not in gate_findings]
            all_cases.append(_of_gate(gate, gate_findings))
        all_cases += _by_rule(remaining, set_title=title)
    return tuple(all_cases)


def _of_gate(gate: Gate, findings: Sequence[Finding]) -> Case:
    verdict = gate.judgement.verdict
    outcome = verdict if gate.binding or verdict is not Verdict.INCONCLUSIVE else None
    own_subject = gate.rule in ("floor", "subgroup-drop") or gate.lesion_class is not None
    own_subject |= gate.rule in _OF_SEVERAL and gate.figure == MALIGNANT_CALLS
    subject = gate.subject if own_subject else None
    return Case(gate.rule, gate.set, subject, _outcome(findings, outcome), gate_figures(gate), tuple(findings))


def gate_figures(gate: Gate) -> str:
    """A gate's measured value and its bound."""
    if gate.counts:
        return f"{gate.value:.0f} malignant images turned benign, limit {gate.limit:.0f}"
    interval = shown_interval(gate)
    bounds = "" if interval is None else f" {span(interval)}"
    if gate.rule == "floor":
        return f"{gate.subject} {percent(gate.value)}{bounds}, floor {percent(gate.limit)}{_power(gate)}"
    if gate.rule in TURNED:
        return f"{percent(gate.value)}{bounds} of {gate.images} turned benign, bound {percent(gate.limit)}{_power(gate)}"
    subject = "" if gate.figure == "accuracy" else f"{gate.subject}: "
    subject = f"sensitivity to {gate.lesion_class}: " if gate.lesion_class else subject
    margin = points(gate.limit).lstrip("+") if gate.rule == "subgroup-drop" else margin_text(100 * gate.limit)
    return f"{subject}drop {points(gate.value)}{bounds}, margin {margin}, {gate.images} images{_power(gate)}"


def _power(gate: Gate) -> str:
    return "" if gate.power is None else f", power {power_text(gate.power)}"


def _by_rule(findings: Sequence[Finding], *, set_title: str | None) -> Iterator[Case]:
    """One case for each rule with findings."""
    for rule, lesion_class in dict.fromkeys((finding.rule, finding.lesion_class) for finding in findings):
        rule_findings = tuple(
            finding for finding in findings if (finding.rule, finding.lesion_class) == (rule, lesion_class)
        )
        warned = any(finding.severity is Severity.WARNING for finding in rule_findings)
        yield Case(
            rule, set_title, lesion_class, _outcome(rule_findings, None if warned else Verdict.PASS), "", rule_findings
        )


def _outcome(findings: Sequence[Finding], otherwise: Verdict | None) -> Verdict | None:
    forced = [_FORCED[finding.severity] for finding in findings if finding.severity in _FORCED]
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in forced or otherwise is verdict:
            return verdict
    return otherwise
