"""Whether each gate can fail at all on these sets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.at_threshold import ABOVE_THRESHOLD
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS

if TYPE_CHECKING:
    from skinaudit.audit.figures.at_threshold import AtThreshold
    from skinaudit.audit.figures.comparison import Comparison
    from skinaudit.audit.judgement.policy import Policy
    from skinaudit.audit.judgement.result import Gate

ABOUT: About = "figures"
_OF_SETS = (
    "drop",
    "malignant-sensitivity",
    "operating-sensitivity",
    "turned-benign",
    "malignant-to-benign",
    "class-sensitivity",
    "baseline-drop",
    "baseline-malignant-to-benign",
)
_CALLS = (MALIGNANT_CALLS, ABOVE_THRESHOLD, "images")
RULES = {
    "void-gate": Rule(
        "A gate that no engine could fail",
        "The bound is so wide that an engine that guesses, or misses every cancer, would pass.",
        "Set a tighter bound in the policy. If the source itself is that poor, train or harden it further.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS if the policy made a binding gate void; warn if the gate does not bind.

    If already the default bound is void, the source itself has nothing to lose, and a note says so.
    """
    for gate in evidence.gates:
        most = _most(gate, evidence)
        if most is None or gate.limit < most:
            continue
        loosened = gate.limit > _default_limit(gate, evidence)
        if not loosened and not gate.binding:
            continue
        severity = Severity.NOTE if not loosened else Severity.INCONCLUSIVE if gate.binding else Severity.WARNING
        subject = gate.lesion_class or gate.subject
        margin = "1 point" if gate.limit == 0.01 else f"{100 * gate.limit:g} points"
        if gate.counts:
            text = f"{gate.rule}: the limit of {gate.limit:,.0f} images is void, because only {most:,.0f} can be lost"
        elif gate.figure in _CALLS:
            text = f"{gate.rule}: with a margin of {margin}, an engine that calls nothing malignant would pass"
        else:
            text = f"{gate.rule} of {subject}: with a margin of {margin}, an engine that guesses would pass"
        figures = {"limit": gate.limit, "most": most}
        yield Finding(
            severity, "void-gate", gate.set, text, lesion_class=gate.lesion_class, gate=gate.subject, figures=figures
        )


def _most(gate: Gate, evidence: Evidence) -> float | None:
    """The largest possible loss, from an engine that guesses or that calls every malignant image benign.

    A fraction of 1 or a number of images, as the gate counts. None for a floor, because such an engine fails it.
    """
    guess = evidence.clean.comparison.constant_balanced
    for probe in evidence.probes:
        if gate.rule == "probe-drop" and probe.title == gate.set:
            return (probe.reference_accuracy or 0.0) - guess
    for index, result in enumerate(evidence.sets):
        if gate.rule in _OF_SETS and result.title == gate.set:
            pair = None if evidence.baseline is None else evidence.baseline.pairs[index]
            if gate.rule.startswith("baseline"):
                most = None if pair is None else _to_lose(gate, pair.before.comparison, of_source=False)
            else:
                most = _to_lose(gate, result.comparison, of_source=True)
            if gate.rule == "operating-sensitivity":
                most = None if result.at_threshold is None else _sensitivity(result.at_threshold)
            return most if most is None or gate.counts or gate.figure in _CALLS else most - guess
    return None


def _sensitivity(at_threshold: AtThreshold) -> float:
    """The source's sensitivity at the operating point."""
    return 0.0 if at_threshold.source is None else at_threshold.source.sensitivity.share or 0.0


def _to_lose(gate: Gate, comparison: Comparison, *, of_source: bool) -> float:
    """The value of the gate's figure before any loss, for the source or for an earlier engine."""
    right = {entry.name: entry.source if of_source else entry.engine for entry in comparison.classes}
    if gate.counts:
        called = comparison.source_malignant if of_source else comparison.engine_malignant
        return 0 if called is None else called.right
    if gate.rule == "turned-benign":
        return 1.0
    if gate.figure in (MALIGNANT_CALLS, "images"):
        called = comparison.source_malignant if of_source else comparison.engine_malignant
        return (None if called is None else called.share) or 0.0
    if gate.lesion_class is None:
        return (comparison.source_accuracy if of_source else comparison.engine_accuracy) or 0.0
    hits = right[gate.lesion_class]
    return (None if hits is None else hits.share) or 0.0


def _default_limit(gate: Gate, evidence: Evidence) -> float:
    """The limit of the gate without a policy file."""
    default: Policy = type(evidence.policy)()
    if gate.rule == "malignant-to-benign":
        return 0
    if gate.rule == "baseline-malignant-to-benign":
        share = default.baseline_malignant_to_benign / 100
        return math.floor(share * gate.images) if gate.counts else share
    if gate.rule == "turned-benign":
        return default.turned_benign / 100
    if gate.rule == "operating-sensitivity":
        return default.malignant_margin / 100
    if gate.figure == MALIGNANT_CALLS:
        return default.margin_of_malignant(gate.images) / 100
    if gate.lesion_class is not None:
        malignant = gate.lesion_class in evidence.inputs.clean.info.contract.malignant
        return (default.class_margin if malignant else default.benign_margin) / 100
    margins = {"probe-drop": default.probe_margin, "baseline-drop": default.baseline_margin}
    return margins.get(gate.rule, default.margin) / 100
