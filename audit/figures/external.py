"""Compare own test and external validation: the same figures on both, and whether chance explains the difference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.logits import predictions
from skinaudit.artifacts.pictures import FRAME, STATISTICS
from skinaudit.artifacts.typed_json import Count, Share
from skinaudit.audit.evidence.answers import AnsweredSet
from skinaudit.audit.evidence.external import ExternalImages
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS
from skinaudit.audit.figures.comparison import Comparison, compare
from skinaudit.audit.figures.statistics import Interval, accuracy_interval, mean_interval, wilson_interval

ACCURACY, BALANCED = "accuracy", "balanced accuracy"
SAME_MALIGNANT = f"{MALIGNANT_CALLS} (same mix)"
"""Name of the figure over the malignant classes that both have.

On the own test, each class has the weight of its share of the external images. Otherwise a larger share of melanomas would
look like a loss if they are harder to see than carcinomas.
"""
_CENTRAL = (1, 99)
"""Percentiles between which nearly all training pictures lie."""
_OUTSIDE = 0.1
"""Share of external images outside these percentiles from which the pictures count as different."""


@dataclass(frozen=True)
class Estimate:
    """A figure over some images, with an interval corrected for the number of compared figures."""

    value: Share
    interval: Interval
    images: Count


@dataclass(frozen=True)
class ExternalFigure:
    """One figure of the source model on the run's own test images and on external ones, and of the engine on the latter.

    set: title of the external set. figure: ACCURACY, BALANCED, MALIGNANT_CALLS or, if the contract has several malignant
    classes, SAME_MALIGNANT. difference: own minus external; by_chance: whether its interval contains 0. own and difference
    are None if the run has no such set.
    """

    set: str
    figure: str
    own: Estimate | None
    external: Estimate
    engine: Share
    difference: float | None
    interval: Interval | None

    @property
    def by_chance(self) -> bool:
        """Whether chance explains the difference, or there is none to explain."""
        return self.interval is None or self.interval.low <= 0 <= self.interval.high


@dataclass(frozen=True)
class Look:
    """One of STATISTICS or of FRAME, for training pictures and external images.

    low, middle, high: 1st, 50th and 99th percentile of the training pictures. median: of the external images. outside: share
    of these that is not between low and high. differs: whether that share is clearly large, or the median is outside the
    middle half of the training pictures.
    """

    name: str
    low: float
    middle: float
    high: float
    median: float
    outside: Share
    differs: bool


@dataclass(frozen=True)
class ExternalResult:
    """The comparison of own test and external validation.

    name: of the data set, as chosen by the user. dataset: its title. run_dataset: that of the run; None without a run.
    confidence: of the intervals of the figures. It is so high that, for all figures together, the probability of a false
    difference is at most 5%. left_out: why images of the data were left out -> how many. of_run: how many of the remaining
    images belong to the run, by kind.
    """

    name: str
    dataset: str
    run_dataset: str | None
    confidence: Share
    figures: tuple[ExternalFigure, ...]
    looks: tuple[Look, ...]
    left_out: Mapping[str, Count] = field(default_factory=dict)
    of_run: Mapping[str, Count] = field(default_factory=dict)


def external_result(external: ExternalImages, answered: Sequence[AnsweredSet], *, confidence: float) -> ExternalResult:
    """The table of own test and external validation. confidence: two-sided, before it allows for the number of figures."""
    pairs = [(stored, _own_set(stored, external.own_sets)) for stored in answered]
    compared = max(1, sum(3 + (len(own.info.contract.malignant) > 1) for _, own in pairs if own is not None))
    adjusted = 1 - (1 - confidence) / compared
    return ExternalResult(
        name=external.described.name,
        dataset=external.described.dataset,
        run_dataset=external.run_dataset,
        confidence=adjusted,
        figures=tuple(figure for stored, own in pairs for figure in _figures(stored, own, confidence=adjusted)),
        looks=(
            *looks(STATISTICS, external.own_looks, external.looks, confidence=adjusted),
            *looks(FRAME, external.own_frames, external.frames, confidence=adjusted),
        ),
        left_out=dict(external.described.left_out),
        of_run={origin: count for origin, count in _of_run(external) if count},
    )


def _of_run(external: ExternalImages) -> Iterator[tuple[str, int]]:
    yield "those of the run's own training or validation, pixel for pixel", external.trained_on
    yield "those of the run's own test, pixel for pixel", external.tested_on
    yield "near-copies of pictures of the run's own training or validation", external.near_trained
    yield "near-copies of pictures of the run's own test", external.near_tested


def looks(
    names: Sequence[str], own: NDArray[Any] | None, external: NDArray[Any] | None, *, confidence: float
) -> tuple[Look, ...]:
    """The look of external pictures compared with training pictures; both (N, len(names)), None if unknown."""
    result: list[Look] = []
    if own is None or external is None or not len(own) or not len(external):
        return ()
    for name, before, now in zip(names, own.T.astype(np.float64), external.T.astype(np.float64), strict=True):
        low, quarter, middle, three_quarters, high = np.percentile(before, [_CENTRAL[0], 25, 50, 75, _CENTRAL[1]])
        outside = int(((now < low) | (now > high)).sum())
        counts = {outside: _OUTSIDE, int((now < quarter).sum()): 0.5, int((now > three_quarters).sum()): 0.5}
        differs = any(wilson_interval(count, len(now), confidence=confidence).low > share for count, share in counts.items())
        result.append(Look(name, float(low), float(middle), float(high), float(np.median(now)), outside / len(now), differs))
    return tuple(result)


def _own_set(stored: AnsweredSet, own_sets: Sequence[AdversarialSet]) -> AdversarialSet | None:
    info = stored.images.info
    recipe = (info.attack, info.threat_model, dict(info.settings))
    for own_set in own_sets:
        own_info = own_set.info
        if (own_info.attack, own_info.threat_model, dict(own_info.settings)) == recipe:
            return own_set
    return None


def _figures(stored: AnsweredSet, own: AdversarialSet | None, *, confidence: float) -> list[ExternalFigure]:
    images = stored.images
    contract = images.info.contract

    def figures_of(logits: NDArray[np.float32], labels: NDArray[np.int64], lesions: NDArray[np.int64]) -> Comparison:
        return compare(
            predictions(logits), None, engine_clean=None, labels=labels, groups=lesions, contract=contract,
            confidence=confidence,
        )  # fmt: skip

    engine = figures_of(stored.logits, images.labels, stored.lesions)
    source = engine if stored.source_logits is None else figures_of(stored.source_logits, images.labels, stored.lesions)
    before = None if own is None else figures_of(own.source_logits, own.labels, own.group)
    shared_classes = {kind.name for kind in source.classes if kind.engine.count}
    shared_classes &= {kind.name for kind in (before or source).classes if kind.engine.count}
    rows: list[ExternalFigure] = []
    for name in (ACCURACY, BALANCED, MALIGNANT_CALLS):
        external, of_engine = _estimate(source, name, shared_classes), _estimate(engine, name, shared_classes)
        of_own = None if before is None else _estimate(before, name, shared_classes)
        if external is None or of_engine is None:
            continue
        difference = None if of_own is None else of_own.value - external.value
        interval = None if of_own is None else _of_difference(of_own, external)
        rows.append(ExternalFigure(stored.title, name, of_own, external, of_engine.value, difference, interval))
    same = None if own is None else _same_malignant(stored, own, confidence=confidence)
    return rows if same is None else [*rows, same]


def _same_malignant(stored: AnsweredSet, own: AdversarialSet, *, confidence: float) -> ExternalFigure | None:
    """The row of SAME_MALIGNANT; None if the sets share no malignant class, or if the contract has only one."""
    images = stored.images
    malignant = images.info.contract.malignant_labels
    shared = np.intersect1d(np.intersect1d(images.labels, own.labels), malignant)
    if len(malignant) < 2 or not len(shared):
        return None
    source = stored.logits if stored.source_logits is None else stored.source_logits
    rows = np.isin(images.labels, shared)

    def called(logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        return np.isin(predictions(logits), malignant)

    calls, lesions = called(source)[rows], stored.lesions[rows]
    external = Estimate(float(calls.mean()), accuracy_interval(calls, lesions, confidence=confidence), len(calls))
    own_calls, weights, shares, limits = called(own.source_logits), [], [], []
    for label in shared:
        of_class = own.labels == label
        weights.append(float((images.labels[rows] == label).mean()))
        shares.append(float(own_calls[of_class].mean()))
        limits.append(accuracy_interval(own_calls[of_class], own.group[of_class], confidence=confidence))
    of_own = Estimate(
        float(np.dot(weights, shares)),
        mean_interval(shares, limits, weights=weights),
        int(np.isin(own.labels, shared).sum()),
    )
    return ExternalFigure(
        stored.title, SAME_MALIGNANT, of_own, external, float(called(stored.logits)[rows].mean()),
        of_own.value - external.value, _of_difference(of_own, external),
    )  # fmt: skip


def _estimate(comparison: Comparison, name: str, classes: set[str]) -> Estimate | None:
    """A figure with its interval; balanced accuracy over `classes`; None if no image counts for it."""
    if name == ACCURACY:
        return Estimate(comparison.engine_accuracy, comparison.engine_accuracy_interval, comparison.images)
    if name == MALIGNANT_CALLS:
        hits = comparison.engine_malignant
        return None if hits.share is None else Estimate(hits.share, comparison.engine_malignant_interval, hits.count)
    parts = [kind for kind in comparison.classes if kind.name in classes]
    shares = [kind.engine.right / kind.engine.count for kind in parts]
    if not shares:
        return None
    interval = mean_interval(shares, [kind.engine_interval for kind in parts])
    return Estimate(sum(shares) / len(shares), interval, sum(kind.engine.count for kind in parts))


def _of_difference(own: Estimate, external: Estimate) -> Interval:
    """The interval of a difference of independent figures, from their limits (MOVER: Zou & Donner 2008)."""
    difference = own.value - external.value
    below = _norm([own.value - own.interval.low, external.interval.high - external.value])
    above = _norm([own.interval.high - own.value, external.value - external.interval.low])
    return Interval(max(-1.0, difference - below), min(1.0, difference + above))


def _norm(parts: Sequence[float]) -> float:
    return math.sqrt(sum(part * part for part in parts))
