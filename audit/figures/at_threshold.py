"""Source and engine at one threshold of the malignant score: sensitivity, specificity, and predictive values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.logits import Indices
from skinaudit.artifacts.typed_json import Share
from skinaudit.audit.figures.lesions import design_effect
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.right_answers import pack_right
from skinaudit.audit.figures.statistics import Interval, PairedDrop, accuracy_interval, paired_drop, quantile

ABOVE_THRESHOLD = "malignant above the threshold"
"""Name of the figure that the gate of the operating point bounds; it is not the name of a class."""


@dataclass(frozen=True)
class Predictive:
    """A predictive value at the policy's prevalence; None if no image of either kind gets this answer."""

    value: Share | None
    interval: Interval


@dataclass(frozen=True)
class ModelAtThreshold:
    """One model's decisions. sensitivity: malignant images above the threshold. specificity: benign images not above it.

    positive, negative: predictive values; None if the policy states no prevalence.
    """

    sensitivity: Hits
    sensitivity_interval: Interval
    specificity: Hits
    specificity_interval: Interval
    positive: Predictive | None
    negative: Predictive | None


@dataclass(frozen=True)
class AtThreshold:
    """Engine and source at the same threshold. Source fields and drops are None if nothing was compared.

    sensitivity_drop: over the malignant images, None if there are none; specificity_drop: over the benign ones.
    engine_calls, source_calls: which images are above, packed by skinaudit.audit.figures.right_answers; empty without a
    source.
    """

    engine: ModelAtThreshold
    source: ModelAtThreshold | None
    sensitivity_drop: PairedDrop | None
    specificity_drop: PairedDrop | None
    engine_calls: str
    source_calls: str


def at_threshold(
    engine: NDArray[np.bool_],
    source: NDArray[np.bool_] | None,
    *,
    labels: Indices,
    groups: NDArray[np.int64],
    malignant: Sequence[int],
    prevalence: float | None,
    confidence: float,
) -> AtThreshold:
    """engine, source: bool (N,), which images each model calls malignant. labels, groups: int64 (N,)."""
    ill = np.isin(labels, malignant)

    def of(called: NDArray[np.bool_]) -> ModelAtThreshold:
        return _model(called, ill, groups, prevalence=prevalence, confidence=confidence)

    def drop(rows: NDArray[np.bool_]) -> PairedDrop | None:
        if source is None or not rows.any():
            return None
        return paired_drop(source[rows] == ill[rows], engine[rows] == ill[rows], groups[rows], confidence=confidence)

    return AtThreshold(
        engine=of(engine),
        source=None if source is None else of(source),
        sensitivity_drop=drop(ill),
        specificity_drop=drop(~ill),
        engine_calls=pack_right(engine),
        source_calls="" if source is None else pack_right(source),
    )


def predictive_value(
    hits: tuple[float, float], rejections: tuple[float, float], *, prevalence: float, confidence: float
) -> Predictive:
    """The probability that an answer is right, by Bayes' rule, with an interval.

    The interval is that of Mercaldo, Lau and Zhou, Statistics in Medicine 26 (2007) 2170-2183, on the logit scale, with z^2
    / 2 added to both counts of each proportion. hits: of the images of the answered kind, how many get this answer, and
    their number. rejections: of the other images, how many do not get it, and their number. Effective counts are allowed.
    prevalence: of the answered kind.
    """
    if not hits[1] or not rejections[1]:
        return Predictive(None, Interval(0.0, 1.0))
    right, false = prevalence * hits[0] / hits[1], (1 - prevalence) * (1 - rejections[0] / rejections[1])
    value = right / (right + false) if right + false > 0 else None
    z = quantile(confidence)
    (hit, hit_trials), (rejected, rejected_trials) = ((k + z * z / 2, n + z * z) for k, n in (hits, rejections))
    hit_share, rejected_share = hit / hit_trials, rejected / rejected_trials
    centre = math.log(prevalence * hit_share / ((1 - prevalence) * (1 - rejected_share)))
    deviation = math.sqrt((1 - hit_share) / hit_share / hit_trials + rejected_share / (1 - rejected_share) / rejected_trials)
    low, high = (_sigmoid(centre + side * z * deviation) for side in (-1, 1))
    if value is not None:
        low, high = min(low, value), max(high, value)
    return Predictive(value, Interval(low, high))


def _model(
    called: NDArray[np.bool_],
    ill: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    prevalence: float | None,
    confidence: float,
) -> ModelAtThreshold:
    sensitivity, specificity = (_hits(called == ill, rows, groups, confidence) for rows in (ill, ~ill))
    positive = negative = None
    if prevalence is not None:
        hits, rejections = _effective(called[ill], groups[ill]), _effective(~called[~ill], groups[~ill])
        positive = predictive_value(hits, rejections, prevalence=prevalence, confidence=confidence)
        negative = predictive_value(rejections, hits, prevalence=1 - prevalence, confidence=confidence)
    return ModelAtThreshold(*sensitivity, *specificity, positive, negative)


def _hits(
    right: NDArray[np.bool_], rows: NDArray[np.bool_], groups: NDArray[np.int64], confidence: float
) -> tuple[Hits, Interval]:
    if not rows.any():
        return Hits(0, 0), Interval(0.0, 1.0)
    hits = Hits(int(right[rows].sum()), int(rows.sum()))
    return hits, accuracy_interval(right[rows], groups[rows], confidence=confidence)


def _effective(right: NDArray[np.bool_], groups: NDArray[np.int64]) -> tuple[float, float]:
    """Right answers and images, divided by the design effect."""
    if len(right) == 0:
        return 0.0, 0.0
    effect = design_effect(right.astype(np.int64), groups)
    return float(right.sum()) / effect, len(right) / effect


def _sigmoid(value: float) -> float:
    return 0.5 * (1 + math.tanh(value / 2))
