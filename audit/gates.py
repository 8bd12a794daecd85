"""Every question that a verdict answers, one by one, with its answer: what reports for machines count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from skinaudit.audit.result import AuditResult, Finding, SetResult, Severity, Verdict
from skinaudit.audit.verdict import margin_text
from skinaudit.audit.wording import drop_text, share

_FORCED = {Severity.FAIL: Verdict.FAIL, Severity.INCONCLUSIVE: Verdict.INCONCLUSIVE}


@dataclass(frozen=True)
class Gate:
    """One rule applied to one set, to one class of a set, or to the whole audit (set is None).

    outcome: None where the question was not answered and the verdict does not hang on it: nothing was compared, or a finding
    only warns. figures: what was measured, with its bound. findings: what the audit says of it.
    """

    rule: str
    set: str | None
    lesion_class: str | None
    outcome: Verdict | None
    figures: str
    findings: tuple[Finding, ...]

    @property
    def name(self) -> str:
        """The rule and, where it is about one, the class."""
        return f"{self.rule} {self.lesion_class}" if self.lesion_class else self.rule

    @property
    def text(self) -> str:
        """The findings, or the figures where there is nothing to say."""
        return "; ".join(one.text for one in self.findings) or self.figures


def gates(result: AuditResult) -> tuple[Gate, ...]:
    """The gates of the whole audit, then those of each set in the order of the sets.

    Invariants: every finding is in exactly one gate; a gate with a finding that forces a verdict has that outcome; the drop
    of each set, its malignant-to-benign flips and the sensitivity to each malignant class are there whether found or not.
    """
    titles = [one.title for one in result.sets]
    wide = [one for one in result.findings if one.set not in titles]
    found = list(_found(wide, set_title=None))
    for one in result.sets:
        found += _of_set(one, [finding for finding in result.findings if finding.set == one.title], result)
    return tuple(found)


def _of_set(one: SetResult, findings: list[Finding], result: AuditResult) -> Iterator[Gate]:
    compared, policy = one.comparison, result.policy
    limits: list[tuple[str, str | None, Verdict | None, str]] = [
        (
            "drop",
            None,
            None if one.judgement is None else one.judgement.verdict,
            f"drop {drop_text(compared.drop)}, margin {margin_text(policy.margin)}",
        ),
        (
            "malignant-to-benign",
            None,
            None if compared.malignant_to_benign is None else Verdict.PASS,
            f"{compared.malignant_to_benign} malignant images turned benign, limit {policy.malignant_to_benign}",
        ),
        *(
            (
                "class-sensitivity",
                item.name,
                None if item.drop is None else Verdict.PASS,
                f"sensitivity {share(item.baseline)} -> {share(item.engine)}, drop {drop_text(item.drop)}, "
                f"margin {margin_text(policy.class_margin)}",
            )
            for item in compared.classes
            if item.malignant
        ),
    ]
    rest = list(findings)
    for rule, lesion_class, outcome, figures in limits:
        own = [finding for finding in findings if (finding.rule, finding.lesion_class) == (rule, lesion_class)]
        if rule == "drop" and outcome is None:  # that it was not compared answers, or leaves open, the same question
            own += [finding for finding in findings if finding.rule == "not-compared"]
        rest = [finding for finding in rest if finding not in own]
        told = figures if outcome is not None else "not compared: there are no answers of the source model or no images"
        yield Gate(rule, one.title, lesion_class, _outcome(own, outcome), told, tuple(own))
    yield from _found(rest, set_title=one.title)


def _found(findings: list[Finding], *, set_title: str | None) -> Iterator[Gate]:
    """A gate for each rule that has findings."""
    for rule, lesion_class in dict.fromkeys((one.rule, one.lesion_class) for one in findings):
        own = tuple(one for one in findings if (one.rule, one.lesion_class) == (rule, lesion_class))
        warned = any(one.severity is Severity.WARNING for one in own)
        outcome = _outcome(own, None if warned else Verdict.PASS)
        yield Gate(rule, set_title, lesion_class, outcome, "", own)


def _outcome(findings: list[Finding] | tuple[Finding, ...], otherwise: Verdict | None) -> Verdict | None:
    forced = [_FORCED[one.severity] for one in findings if one.severity in _FORCED]
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in forced or otherwise is verdict:
            return verdict
    return otherwise
