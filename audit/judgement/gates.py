"""Apply every bound of a policy to an audit's figures. Each bound is one gate.

Multiplicity. PASS needs every gate to pass. This is an intersection-union test: its error is at most that of a single gate,
so no correction is needed. FAIL needs only one gate, so the p-values of all gates together are adjusted by Holm's method.
Subgroups are a separate family of tests (skinaudit.audit.judgement.subgroup_gates).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from skinaudit.audit.figures.at_threshold import ABOVE_THRESHOLD
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS
from skinaudit.audit.figures.comparison import Comparison
from skinaudit.audit.figures.fresh_attack import ProbeResult
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.power import POWER, images_to_decide, pass_probability, power_to_pass
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.statistics import (
    Interval,
    PairedDrop,
    holm,
    mean_interval,
    p_above,
    quantile,
)
from skinaudit.audit.judgement.drop_verdict import enough, verdict_of
from skinaudit.audit.judgement.policy import Floor, Policy, own_entry
from skinaudit.audit.judgement.result import BaselineResult, BaselineSet, Gate, Judgement, Verdict
from skinaudit.audit.judgement.subgroup_gates import subgroup_gates


@dataclass(frozen=True)
class _Open:
    """A gate before the correction. p: p-value against "the bound holds"; None if the gate is a count and already decided.

    passes: whether the gate passes if it does not fail.
    """

    gate: Gate
    p: float | None
    passes: bool
    drop: PairedDrop | None = None


def judge(
    sets: Sequence[SetResult],
    probes: Sequence[ProbeResult],
    policy: Policy,
    *,
    baseline: BaselineResult | None = None,
) -> tuple[Gate, ...]:
    """All gates in this order: set by set, of the probes, against an earlier engine, of subgroups."""
    opened = [open_gate for result in sets for open_gate in _of_set(result, policy)]
    opened += [open_gate for probe in probes for open_gate in _probe_gates(probe, policy)]
    opened += [] if baseline is None else _against_baseline(baseline, policy)
    tested = [index for index, open_gate in enumerate(opened) if open_gate.p is not None]
    adjusted = dict(zip(tested, holm([opened[index].p or 0.0 for index in tested]), strict=True))
    decided = [_judged_gate(open_gate, adjusted.get(index), len(tested), policy) for index, open_gate in enumerate(opened)]
    return (*decided, *subgroup_gates(sets, policy))


def set_names(result: SetResult) -> tuple[str, ...]:
    """The names that a policy may use for a set: its name, its title, and its attack."""
    return (result.name, result.title, result.attack)


def _of_set(result: SetResult, policy: Policy) -> Iterator[_Open]:
    comparison, names = result.comparison, set_names(result)
    if comparison.drop is not None:
        margin = own_entry(policy.margins, names) or policy.margin
        yield _drop_gate("drop", result.title, "accuracy", comparison.drop, margin, policy)
        yield from _clinical_gates(result.title, comparison, policy)
        yield from _operating_gate(result, policy)
        for class_result in comparison.classes:
            if class_result.drop is not None:
                yield _class_gate(
                    "class-sensitivity",
                    result.title,
                    class_result.name,
                    class_result.drop,
                    policy,
                    malignant=class_result.malignant,
                )
    floor = own_entry(policy.floors, names)
    if floor is not None:
        yield from _floor_gates(result.title, comparison, floor, policy)


def _clinical_gates(title: str, comparison: Comparison, policy: Policy) -> Iterator[_Open]:
    """Gates on malignant called malignant, a primary endpoint like accuracy, and on images that turned benign."""
    alone = replace(policy, minimal_images=1)
    pooled, turned = comparison.malignant_drop, comparison.turned_benign
    if pooled is not None:
        margin = policy.margin_of_malignant(pooled.images)
        yield _drop_gate("malignant-sensitivity", title, MALIGNANT_CALLS, pooled, margin, alone)
    if turned is not None:
        yield _turned_gate("turned-benign", title, MALIGNANT_CALLS, turned, policy.turned_benign, alone)
    count, limit = comparison.malignant_to_benign, policy.malignant_to_benign
    if count is not None and limit is not None:
        yield _count_gate("malignant-to-benign", title, count, limit, comparison.images)


def _turned_gate(rule: str, title: str, subject: str, turned: PairedDrop, percent: float, policy: Policy) -> _Open:
    """Gate on the share of images that turned benign. With too few images to bound it, the gate binds once an image turned.

    A single one may be chance. But among so few images an engine at the bound often loses no more than one: if the gate let
    one through, 4.6% of such engines passed at 800 images (bench/operating.py).
    """
    bound, opened = percent / 100, _drop_gate(rule, title, subject, turned, percent, policy)
    provable = enough(turned, bound, policy)
    binding = policy.prove == "always" or provable or turned.lost > 0
    power = _power_of_turned(turned, bound, policy) if provable else 0.0
    return replace(opened, gate=replace(opened.gate, binding=binding, power=power))


def _operating_gate(result: SetResult, policy: Policy) -> Iterator[_Open]:
    """Gate on malignant images above the threshold, if the policy bounds their loss."""
    drop = None if result.at_threshold is None else result.at_threshold.sensitivity_drop
    if drop is not None and policy.operating_margin is not None:
        alone = replace(policy, minimal_images=1)
        yield _drop_gate("operating-sensitivity", result.title, ABOVE_THRESHOLD, drop, policy.operating_margin, alone)


def _power_of_turned(turned: PairedDrop, limit: float, policy: Policy) -> float:
    """The power if images turn benign at the observed rate plus half an image. No image can be gained."""
    images = turned.images / turned.design_effect
    rate = (turned.lost / turned.design_effect + 0.5) / (images + 1)
    return pass_probability(images, rate, 0.0, margin=limit, confidence=policy.confidence)


def _powerful(drop: PairedDrop, limit: float, policy: Policy) -> bool:
    """Whether these images give a gate a power of 80%, at the observed discordance or if both models agreed on all images.

    The second condition depends on the images only. Without it, an engine that changes many predictions would lower its
    own power and so switch off the gate.
    """
    lesions = drop.images if drop.effective_lesions is None else drop.effective_lesions
    agreeing = replace(drop, lost=0, gained=0, design_effect=drop.images / lesions, discordant_lesions=0)
    return max(_power(drop, limit, policy), _power(agreeing, limit, policy)) >= POWER


def _drop_gate(rule: str, title: str, subject: str, drop: PairedDrop, margin: float, policy: Policy) -> _Open:
    limit = margin / 100
    gate = Gate(
        rule, title, subject, drop.value, limit, drop.interval, None, drop.images, Judgement(Verdict.INCONCLUSIVE),
        effective_lesions=drop.effective_lesions, power=_power(drop, limit, policy),
    )  # fmt: skip
    p = p_above(drop, margin=limit)
    return _Open(gate, p, verdict_of(drop, limit, 1.0, policy) is Verdict.PASS, drop)


def _probe_gates(probe: ProbeResult, policy: Policy) -> Iterator[_Open]:
    """Gates of a probe. The small probe of every audit can fail an engine, but need not prove anything unless the policy
    asks for it. The same holds for malignant called malignant under any probe, because it attacks too few malignant
    images."""
    if probe.drop is not None:
        opened = _drop_gate("probe-drop", probe.title, "accuracy", probe.drop, policy.probe_margin, policy)
        yield replace(opened, gate=replace(opened.gate, binding=not probe.small or policy.probe_prove))
    if probe.malignant_drop is not None:
        margin, alone = policy.margin_of_malignant(probe.malignant_drop.images), replace(policy, minimal_images=1)
        opened = _drop_gate("probe-drop", probe.title, MALIGNANT_CALLS, probe.malignant_drop, margin, alone)
        yield replace(opened, gate=replace(opened.gate, binding=policy.probe_prove))


def _power(drop: PairedDrop, limit: float, policy: Policy) -> float:
    return power_to_pass(drop, margin=limit) if drop.images >= policy.minimal_images else 0.0


def _against_baseline(baseline: BaselineResult, policy: Policy) -> Iterator[_Open]:
    for baseline_set in baseline.sets:
        yield _drop_gate("baseline-drop", baseline_set.title, "accuracy", baseline_set.drop, policy.baseline_margin, policy)
        if baseline_set.pooled is not None:
            drop = baseline_set.pooled.drop
            margin, alone = policy.margin_of_malignant(drop.images), replace(policy, minimal_images=1)
            yield _drop_gate("baseline-drop", baseline_set.title, MALIGNANT_CALLS, drop, margin, alone)
        for baseline_class in baseline_set.classes:
            yield _class_gate(
                "baseline-drop", baseline_set.title, baseline_class.name, baseline_class.drop, policy, malignant=True
            )
        if baseline_set.malignant:
            yield _turned_since(baseline_set, policy)


def _turned_since(baseline_set: BaselineSet, policy: Policy) -> _Open:
    """Gate on malignant images that turned benign since the baseline.

    On their share if its interval is known, otherwise on their number. A bound of 0 is always one on their number.
    """
    rule, title, percent = "baseline-malignant-to-benign", baseline_set.title, policy.baseline_malignant_to_benign
    if baseline_set.turned is None or percent == 0:
        limit = math.floor(round(percent / 100 * baseline_set.malignant, 9))
        return _count_gate(rule, title, baseline_set.malignant_to_benign, limit, baseline_set.malignant)
    return _turned_gate(rule, title, "images", baseline_set.turned, percent, replace(policy, minimal_images=1))


def _class_gate(rule: str, title: str, name: str, drop: PairedDrop, policy: Policy, *, malignant: bool) -> _Open:
    margin = policy.class_margins.get(name, policy.class_margin if malignant else policy.benign_margin)
    opened = _drop_gate(rule, title, name, drop, margin, replace(policy, minimal_images=1))
    binding = malignant and (policy.prove == "always" or _powerful(drop, margin / 100, replace(policy, minimal_images=1)))
    return replace(opened, gate=replace(opened.gate, binding=binding, lesion_class=name))


def _count_gate(rule: str, title: str, count: int, limit: int, images: int) -> _Open:
    judgement = Judgement(Verdict.PASS if count <= limit else Verdict.FAIL)
    gate = Gate(rule, title, "images", float(count), float(limit), None, None, images, judgement)
    return _Open(gate, None, count <= limit)


def _floor_gates(title: str, comparison: Comparison, floor: Floor, policy: Policy) -> Iterator[_Open]:
    present = [class_result for class_result in comparison.classes if class_result.engine.count]
    worst = min(present, key=lambda class_result: class_result.engine_interval.high)
    shares, intervals = [entry.engine.share or 0.0 for entry in present], [entry.engine_interval for entry in present]
    for figure in (
        _Floored("accuracy", floor.accuracy, comparison.engine_accuracy, comparison.source_accuracy,
                 comparison.engine_accuracy_interval, comparison.images),
        _Floored("balanced accuracy", floor.balanced_accuracy, comparison.engine_balanced, comparison.source_balanced,
                 mean_interval(shares, intervals), comparison.images, above=_wider_above(shares, intervals)),
        _Floored("malignant sensitivity", floor.malignant_sensitivity, comparison.engine_malignant.share or 0.0,
                 _share_of(comparison.source_malignant), comparison.engine_malignant_interval,
                 comparison.engine_malignant.count),
        _Floored(f"sensitivity of {worst.name}, the worst", floor.worst_class_sensitivity, worst.engine.share or 0.0,
                 _share_of(worst.source),
                 Interval(min(class_result.engine_interval.low for class_result in present), worst.engine_interval.high),
                 worst.engine.count, len(present)),
    ):  # fmt: skip
        if figure.percent is not None:
            yield _floor_gate(title, figure, figure.percent / 100, policy)


@dataclass(frozen=True)
class _Floored:
    """A figure of engine and source with a floor in percent. comparisons: the number of figures of which it is the worst.
    above: how far the truth may lie above the value, if not as far as the interval's upper limit."""

    subject: str
    percent: float | None
    value: float
    source: float | None
    interval: Interval
    images: int
    comparisons: int = 1
    above: float | None = None


def _wider_above(shares: Sequence[float], intervals: Sequence[Interval]) -> float:
    """How far the mean of these shares may lie below its truth.

    Wilson's interval of a class with a few images, all of them right, does not reach above its share. The mean of such
    intervals is too short there: engines at the floor failed in up to 10% of draws (bench/floors.py). So the larger half of
    each counts.
    """
    halves = (max(share - limits.low, limits.high - share) for share, limits in zip(shares, intervals, strict=True))
    return math.hypot(*halves) / len(shares)


def _share_of(hits: Hits | None) -> float | None:
    return None if hits is None else hits.share


def _floor_gate(title: str, figure: _Floored, limit: float, policy: Policy) -> _Open:
    interval = figure.interval
    above = interval.high - figure.value if figure.above is None else figure.above
    deviation = above / quantile(policy.confidence)  # of a figure whose truth is the upper bound
    p = NormalDist().cdf((figure.value - limit) / deviation) if deviation > 0 else float(figure.value >= limit)
    gate = Gate(
        "floor", title, figure.subject, figure.value, limit, interval, None, figure.images, Judgement(Verdict.INCONCLUSIVE),
        power=_floor_power(figure, limit, policy),
    )  # fmt: skip
    return _Open(gate, min(1.0, figure.comparisons * p), interval.low >= limit)


def _floor_power(figure: _Floored, limit: float, policy: Policy) -> float | None:
    """Probability that the lower bound is above the floor if the engine's true figure equals its source's."""
    if figure.source is None:
        return None
    below = figure.value - figure.interval.low
    if below <= 0:
        return float(figure.source >= limit)
    return NormalDist().cdf((figure.source - below - limit) / below * quantile(policy.confidence))


def _judged_gate(open_gate: _Open, adjusted: float | None, comparisons: int, policy: Policy) -> Gate:
    if adjusted is None:
        return open_gate.gate
    if adjusted < policy.alpha:
        verdict, needed = Verdict.FAIL, None
    elif open_gate.passes:
        verdict, needed = Verdict.PASS, None
    else:
        verdict, needed = Verdict.INCONCLUSIVE, _needed(open_gate, comparisons, policy)
    return replace(open_gate.gate, p_value=adjusted, judgement=Judgement(verdict, needed))


def _needed(open_gate: _Open, comparisons: int, policy: Policy) -> int | None:
    """Images that would decide a drop at its present discordance. For a FAIL, all comparisons are corrected for."""
    drop = open_gate.drop
    if drop is None:
        return None
    above = drop.value > open_gate.gate.limit
    confidence = 1 - 2 * policy.alpha / comparisons if above else policy.confidence
    needed = images_to_decide(drop, margin=open_gate.gate.limit, confidence=confidence)
    if needed is None or open_gate.gate.figure != "accuracy":
        return needed
    return max(needed, policy.minimal_images)
