"""Findings for the gates that did not pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from skinaudit.audit.checks import Finding, Severity
from skinaudit.audit.figures.power import POWER, least_lesions
from skinaudit.audit.figures.text import about, counted_images, margin_text, percent, points, span
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Gate, Verdict


def gate_findings(gates: Iterable[Gate], policy: Policy, *, malignant: Iterable[str]) -> list[Finding]:
    """A finding for each failed gate and for each undecided gate that binds.

    malignant: the contract's malignant classes. A warning names those with too few images to show anything about their
    margin.
    """
    findings, unprovable, unbounded = [], dict[str, Gate](), list[Gate]()
    for gate in gates:
        if gate.judgement.verdict is Verdict.PASS:
            continue
        failed = gate.judgement.verdict is Verdict.FAIL
        if failed or gate.binding:
            findings.append(_finding(gate, Severity.FAIL if failed else Severity.INCONCLUSIVE, policy))
        elif gate.lesion_class in set(malignant):
            unprovable.setdefault(gate.subject, gate)
        elif gate.rule == "turned-benign":
            unbounded.append(gate)
    return [*findings, *_unprovable(unprovable), *_unbounded(unbounded)]


def _unprovable(gates: Mapping[str, Gate]) -> Iterator[Finding]:
    """One finding for all these classes together, because a task can have many."""
    if len(gates) == 1:
        ((name, gate),) = gates.items()
        text = (
            f"{gate.images} images of {name}{_as_lesions(gate, 'which count as')} are too few to show that its sensitivity "
            f"drops by less than {margin_text(100 * gate.limit)} points (power {percent(gate.power)}); {_ONLY_LARGE}"
        )
        figures = {"images": gate.images, "margin": gate.limit}
        yield Finding(Severity.WARNING, "class-sensitivity", None, text, lesion_class=name, figures=figures)
    elif gates:
        margins = {gate.limit for gate in gates.values()}
        points_of = f"{margin_text(100 * min(margins))} points" if len(margins) == 1 else "their margins"
        listed = ", ".join(f"{name} ({_size(gate, with_margin=len(margins) > 1)})" for name, gate in gates.items())
        text = (
            f"{len(gates)} malignant classes have too few images to show that their sensitivity drops by less than "
            f"{points_of}: {listed}; {_ONLY_LARGE}"
        )
        yield Finding(Severity.WARNING, "class-sensitivity", None, text, figures={"classes": len(gates)})


_ONLY_LARGE = "only large losses can be detected"


def _size(gate: Gate, *, with_margin: bool) -> str:
    margin = f", margin {margin_text(100 * gate.limit)}" if with_margin else ""
    counted = _as_lesions(gate, "counted as").rstrip(",")
    return f"{counted_images(gate.images)}{counted}, power {percent(gate.power)}{margin}"


def _as_lesions(gate: Gate, verb: str) -> str:
    return f", {verb} {_counted_as(gate)}," if _counted_as(gate) < gate.images else ""


def _unbounded(gates: Iterable[Gate]) -> Iterator[Finding]:
    for gate in gates:
        text = (
            f"the source calls only {counted_images(gate.images)} of a malignant class malignant"
            f"{_as_lesions(gate, 'which count as').rstrip(',')}: too few to show that fewer than "
            f"{margin_text(100 * gate.limit)}% turn benign; the gate on malignant called malignant still binds"
        )
        figures = {"images": gate.images, "limit": gate.limit, "value": gate.value}
        yield Finding(Severity.WARNING, gate.rule, gate.set, text, gate=gate.subject, figures=figures)


def _finding(gate: Gate, severity: Severity, policy: Policy) -> Finding:
    figures: dict[str, int | float] = {"value": gate.value, "limit": gate.limit, "images": gate.images}
    figures |= {
        name: value
        for name, value in (("effective_lesions", gate.effective_lesions), ("power", gate.power))
        if value is not None
    }
    if gate.interval is not None:
        figures |= {"low": gate.interval.low, "high": gate.interval.high}
    words = {"floor": _floor_text, "subgroup-drop": _subgroup_text}
    words |= dict.fromkeys(("turned-benign", "baseline-malignant-to-benign"), _turned_text)
    text = _count_text(gate) if gate.counts else words[gate.rule](gate) if gate.rule in words else _drop_text(gate, policy)
    return Finding(severity, gate.rule, gate.set, text, lesion_class=gate.lesion_class, gate=gate.subject, figures=figures)


def _count_text(gate: Gate) -> str:
    count = round(gate.value)
    images = "malignant image" if count == 1 else "malignant images"
    if gate.rule == "malignant-to-benign":
        verb = "is" if count == 1 else "are"
        return f"{count} {images} {verb} malignant for the source but benign for the engine (limit {gate.limit:.0f})"
    return f"{count} of {gate.images} malignant images: malignant for the baseline, now benign (limit {gate.limit:.0f})"


def _turned_text(gate: Gate) -> str:
    count, interval = round(gate.value * gate.images), gate.interval
    text = f"{count} of the {counted_images(gate.images)} that the source correctly calls malignant turn benign"
    if gate.rule == "baseline-malignant-to-benign":
        text = f"{count} of {gate.images:,} malignant images: malignant for the baseline, now benign"
    bound = f"the policy's bound is {margin_text(100 * gate.limit)}%"
    if gate.judgement.verdict is Verdict.FAIL:
        low = gate.value if interval is None else interval.low
        return f"{text}, {percent(gate.value)}, at least {percent(low)}; {bound}"
    high = "" if interval is None else f", at most {percent(interval.high)}"
    return f"{text}, {percent(gate.value)}{high} (confidence limit); {bound}; {_decided_by(gate)}"


def _floor_text(gate: Gate) -> str:
    bounds = "" if gate.interval is None else f" {span(gate.interval)}"
    return f"{gate.subject} is {100 * gate.value:.1f}%{bounds}, the policy's floor is {100 * gate.limit:.1f}%"


def _subgroup_text(gate: Gate) -> str:
    return (
        f"{gate.subject}: {gate.images} images lose {points(gate.value)} points, more than the rest of the set "
        f"(p = {gate.p_value:.2g}); allowed are {points(gate.limit)}, the loss of the rest plus the margin"
    )


def _drop_text(gate: Gate, policy: Policy) -> str:
    figure = f"sensitivity to {gate.lesion_class}" if gate.lesion_class else gate.subject
    of_clinic = "" if gate.figure == "accuracy" else f"{gate.subject} "
    prefix = {
        "class-sensitivity": f"{figure}: ",
        "malignant-sensitivity": f"{figure}: ",
        "operating-sensitivity": f"{figure}: ",
        "baseline-drop": f"{figure} against the baseline: ",
        "probe-drop": f"{of_clinic}against its reference under the same attack: ",
    }.get(gate.rule, "")
    margin = margin_text(100 * gate.limit)
    bounds = "" if gate.interval is None else f" {span(gate.interval)}"
    if gate.judgement.verdict is Verdict.FAIL:
        low = gate.value if gate.interval is None else gate.interval.low
        return f"{prefix}loses {points(gate.value)} points, at least {points(low)}; the margin is {margin}"
    if gate.images < policy.minimal_images and gate.figure == "accuracy" and gate.rule != "probe-drop":
        verb = "is" if gate.images == 1 else "are"
        text = f"{counted_images(gate.images)} {verb} fewer than the policy's {policy.minimal_images}"
    elif _counted_as(gate) < min(gate.images, least := least_lesions(gate.limit, confidence=policy.confidence)):
        text = (
            f"too few lesions: {counted_images(gate.images)} counted as {_counted_as(gate)}, but at least {least} are needed"
        )
    elif gate.value <= gate.limit:
        text = f"cannot exclude a drop above {margin} points{bounds}"
    else:
        text = f"the drop of {points(gate.value)} points{bounds} may still be below the margin of {margin}"
    return f"{prefix}{text}; {_decided_by(gate)}"


def _counted_as(gate: Gate) -> int:
    """The effective number of lesions of the images; the number of images if the report does not say."""
    return gate.images if gate.effective_lesions is None else round(gate.effective_lesions)


def _decided_by(gate: Gate) -> str:
    """How many images (and lesions, if fewer) would decide the gate with a probability of POWER."""
    needed = gate.judgement.images_needed
    if needed is None:
        return "more images would not decide it"
    lesions = math.ceil(needed * _counted_as(gate) / max(1, gate.images))
    of_lesions = f" of {about(lesions)} lesions" if about(lesions) != about(needed) else ""
    return f"about {about(needed)} images{of_lesions} would decide in {POWER:.0%} of audits"
