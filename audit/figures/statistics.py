"""Uncertainty of the audit's figures: paired differences of proportions, and single proportions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.lesions import effective_lesions
from skinaudit.artifacts.typed_json import Count, Share
from skinaudit.audit.figures.lesions import design_effect, differing_lesions
from skinaudit.errors import InvalidInputError


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a proportion or of a difference of proportions. Invariant: low <= high."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedDrop:
    """The loss of accuracy between two models on the same images, as fractions of 1.

    lost: images that only the source classifies correctly. gained: images that only the engine classifies correctly.
    Invariant: value = (lost - gained) / images lies in interval. design_effect: factor, at least 1, by which several
    images of one lesion inflate the variance. effective_lesions: effective number of lesions; discordant_lesions:
    lesions with an image that is lost or gained; both are None in reports of earlier versions. bootstrap: the same
    interval by resampling lesions, a second opinion that a PASS also needs; without any discordant image it is [0, 0]
    and has no meaning. p_value: exact McNemar test, two-sided, over images; it is only reported.
    """

    images: Count
    lost: Count
    gained: Count
    value: float
    interval: Interval
    confidence: Share
    design_effect: float
    effective_lesions: float | None
    discordant_lesions: Count | None
    bootstrap: Interval
    p_value: Share


def with_roles_exchanged(drop: PairedDrop) -> PairedDrop:
    """The same drop with the roles exchanged: from the engine to its source."""
    interval = Interval(-drop.interval.high, -drop.interval.low)
    bootstrap = Interval(-drop.bootstrap.high, -drop.bootstrap.low)
    return replace(drop, lost=drop.gained, gained=drop.lost, value=-drop.value, interval=interval, bootstrap=bootstrap)


def paired_drop(
    source_right: NDArray[np.bool_],
    engine_right: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    confidence: float = 0.95,
) -> PairedDrop:
    """The drop between two models with Tango's score interval, widened if images of one lesion fail together.

    source_right, engine_right: bool (N,). groups: int64 (N,) lesion index. The interval is computed from effective counts:
    the counts divided by the design effect. Raises InvalidInputError if N is 0 or lengths differ.
    """
    images = len(groups)
    if images == 0 or source_right.shape != (images,) or engine_right.shape != (images,):
        raise InvalidInputError(f"a paired drop needs equally many answers and lesions and at least one, found {images}")
    lost = int((source_right & ~engine_right).sum())
    gained = int((engine_right & ~source_right).sum())
    difference = source_right.astype(np.int64) - engine_right.astype(np.int64)
    effect = design_effect(difference, groups)
    return PairedDrop(
        images=images,
        lost=lost,
        gained=gained,
        value=(lost - gained) / images,
        interval=tango_interval(lost / effect, gained / effect, images / effect, confidence=confidence),
        confidence=confidence,
        design_effect=effect,
        effective_lesions=effective_lesions(groups),
        discordant_lesions=differing_lesions(difference, groups),
        bootstrap=lesion_bootstrap(difference, groups, confidence=confidence),
        p_value=mcnemar_p(lost, gained),
    )


def tango_interval(b: float, c: float, n: float, *, confidence: float = 0.95) -> Interval:
    """Tango's score interval for (b - c) / n, the difference of two paired proportions.

    b, c: the two discordant counts. n: all pairs. Fractional (effective) counts are allowed. With b = c = 0 the interval is
    +-z^2 / (n + z^2), so agreement on few images proves little. Exchanging b and c negates it. Tango, Statistics in Medicine
    17 (1998) 891-908, equations 24 to 26.
    """
    if not (n > 0 and b >= 0 and c >= 0 and b + c <= n * (1 + 1e-12)):
        raise InvalidInputError(f"discordant counts {b:g} and {c:g} do not fit {n:g} pairs")
    z = quantile(confidence)
    return Interval(_lower_limit(b / n, c / n, n, z), -_lower_limit(c / n, b / n, n, z))


def p_above(drop: PairedDrop, *, margin: float) -> float:
    """One-sided p-value of Tango's score test against "the drop is at most `margin`" (a fraction of 1), by lesions.

    It is small if the engine loses more than the margin. It agrees with the interval: p < (1 - confidence) / 2 exactly if
    interval.low > margin, up to the last digit of the bisection.
    """
    variance = score_variance(drop.lost / drop.images, drop.gained / drop.images, margin)
    distance = drop.value - margin
    if variance == 0.0:
        return 0.0 if distance > 0 else 1.0
    return NormalDist().cdf(-distance * math.sqrt(drop.images / drop.design_effect / variance))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted for their number, in the given order.

    Rejecting those below alpha keeps the family-wise error at or below alpha. Holm, Scandinavian Journal of Statistics 6
    (1979) 65-70; valid for any dependence.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


def mcnemar_p(b: int, c: int) -> float:
    """Exact two-sided McNemar p-value: the binomial tail of the smaller discordant count at probability 1/2, doubled."""
    total, smaller = b + c, min(b, c)
    term = tail = 1
    for k in range(1, smaller + 1):
        term = term * (total - k + 1) // k
        tail += term
    return min(1.0, 2 * tail / (1 << total))


def wilson_interval(right: float, count: float, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for right / count; [0, 1] without images. Wilson, JASA 22 (1927) 209-212.

    Fractional (effective) counts are allowed.
    """
    if not 0 <= right <= count:
        raise InvalidInputError(f"{right} right answers of {count} images is not a proportion")
    if count == 0:
        return Interval(0.0, 1.0)
    z, share = quantile(confidence), right / count
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    low = 0.0 if right == 0 else (centre - half) / scale
    high = 1.0 if right == count else (centre + half) / scale
    return Interval(low, high)


def accuracy_interval(right: NDArray[np.bool_], groups: NDArray[np.int64], *, confidence: float = 0.95) -> Interval:
    """Wilson's interval of an accuracy from effective counts: images of one lesion are right or wrong together.

    right: bool (N,); groups: int64 (N,) lesion index.
    """
    effect = design_effect(right.astype(np.int64), groups)
    return wilson_interval(float(right.sum()) / effect, len(right) / effect, confidence=confidence)


def lesion_bootstrap(
    values: NDArray[np.int64], groups: NDArray[np.int64], *, confidence: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Interval:
    """Percentile interval of the mean of `values`, int64 (N,), when lesions (`groups`, int64 (N,)) are resampled.

    Lesions with the same sum and size are drawn together by one multinomial: the same distribution in much less time. Efron
    and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. The same seed gives the same interval.
    """
    if not values.any():  # as are all resamples
        return Interval(0.0, 0.0)
    _, index = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(index, weights=values), np.bincount(index)
    kinds, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
    lesions = int(counts.sum())
    draws = np.random.default_rng(seed).multinomial(lesions, counts / lesions, size=resamples)
    means = draws @ kinds[:, 0] / (draws @ kinds[:, 1])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def balanced_interval(
    right: NDArray[np.bool_], labels: NDArray[np.int64], groups: NDArray[np.int64], *, confidence: float = 0.95
) -> Interval:
    """The interval of a balanced accuracy, from those of its classes. right: bool (N,); labels, groups: int64 (N,)."""
    classes = [labels == label for label in np.unique(labels)]
    limits = [accuracy_interval(right[chosen], groups[chosen], confidence=confidence) for chosen in classes]
    return mean_interval([float(right[chosen].mean()) for chosen in classes], limits)


def mean_interval(
    shares: Sequence[float], intervals: Sequence[Interval], *, weights: Sequence[float] | None = None
) -> Interval:
    """The interval of a mean of independent proportions (MOVER: Zou & Donner 2008, Stat. Med. 27, 1693).

    weights: of each proportion, with sum 1; None for equal ones.
    """
    parts = list(zip([1 / len(shares)] * len(shares) if weights is None else weights, shares, intervals, strict=True))
    value = sum(weight * share for weight, share, _ in parts)
    below = math.hypot(*(weight * (share - limits.low) for weight, share, limits in parts))
    above = math.hypot(*(weight * (limits.high - share) for weight, share, limits in parts))
    return Interval(max(0.0, value - below), min(1.0, value + above))


def quantile(confidence: float) -> float:
    """The standard normal quantile of a two-sided confidence: 1.96 for 0.95."""
    if not 0 < confidence < 1:
        raise InvalidInputError(f"confidence {confidence}: must lie between 0 and 1, for example 0.95")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def score_variance(b: float, c: float, delta: float) -> float:
    """n times the variance of the difference of rates b - c if its true value is `delta`."""
    linear = -b - c + (2 - b + c) * delta
    constant = -c * delta * (1 - delta)
    root = math.sqrt(max(0.0, linear * linear - 8 * constant))
    # Two forms of the same root: the first loses all digits if linear > 0 and c is small.
    share = (root - linear) / 4 if linear <= 0 else -2 * constant / (linear + root)
    return max(0.0, 2 * max(share, 0.0, -delta) + delta * (1 - delta))


def _lower_limit(b: float, c: float, n: float, z: float) -> float:
    """The smallest delta that the score test does not reject. The statistic falls as delta grows, so bisection finds it."""
    low, high = -1.0, b - c
    for _ in range(100):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if (b - c - middle) ** 2 * n > z * z * score_variance(b, c, middle):
            low = middle
        else:
            high = middle
    return high
