"""How likely an audit is to decide: the power of a gate, and the number of images for a power of 80%."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from skinaudit.audit.figures.lesions import unknown_share
from skinaudit.audit.figures.statistics import PairedDrop, quantile, score_variance

POWER = 0.8
"""The power for which a number of images is given."""
_ENUMERATED = 100
"""Expected discordant images up to which all outcomes are enumerated; above, the normal approximation is good enough."""
_MOST_DISCORDANT = math.ceil(_ENUMERATED + 6 * math.sqrt(_ENUMERATED) + 10)
"""Largest number of discordant images in the enumeration: 6 standard deviations above the largest expected number."""
_MOST_IMAGES = 10**12


def least_lesions(margin: float, *, confidence: float) -> int:
    """The fewest lesions on which full agreement shows a drop below `margin`, a fraction of 1: 381 at 1 point and 95%."""
    z = quantile(confidence)
    return math.floor(z * z * (1 - margin) / margin) + 1


def power_to_pass(drop: PairedDrop, *, margin: float) -> float:
    """The probability that an engine without any loss passes on these images: with as many lesions and discordant images.

    The discordance is that of `drop` plus one image, half of it lost and half gained, because a sample without a discordant
    image does not mean that there is none. 0 if there are fewer lesions than least_lesions.
    """
    if drop.effective_lesions is not None and drop.effective_lesions < least_lesions(margin, confidence=drop.confidence):
        return 0.0
    lost, gained = _rates(drop)
    even = (lost + gained) / 2
    return pass_probability(drop.images / drop.design_effect, even, even, margin=margin, confidence=drop.confidence)


def images_to_decide(drop: PairedDrop, *, margin: float, confidence: float | None = None) -> int | None:
    """The number of images on which the drop is decided with probability POWER; None if no number is enough.

    Images are lost and gained at the rates of `drop`, each increased by half an image, and come from lesions of the same
    sizes. A drop above the margin is decided by a FAIL at `confidence`, by default drop.confidence; one below, by a PASS,
    which also needs least_lesions.
    """
    confidence = confidence or drop.confidence
    lost, gained = _rates(drop)
    fails = drop.value > margin
    if fails == (lost - gained <= margin) or drop.value == margin:
        return None
    probability = fail_probability if fails else pass_probability
    size = _lesion_size(drop)

    def decided(images: int) -> bool:
        effective = images / _later_effect(drop, images)
        return probability(effective, lost, gained, margin=margin, confidence=confidence) >= POWER

    needed = _least(decided)
    if needed is None or fails:
        return needed
    return max(needed, math.ceil(least_lesions(margin, confidence=confidence) * size))


def pass_probability(images: float, lost: float, gained: float, *, margin: float, confidence: float) -> float:
    """The probability that Tango's interval is below `margin`, a fraction of 1.

    images: effective number. lost, gained: probabilities that an image is correct only on the source, or only on the engine.
    """
    z = quantile(confidence)

    def passes(b: int, c: int, n: int) -> bool:
        distance = margin - (b - c) / n
        return distance > 0 and distance**2 * n > z * z * score_variance(b / n, c / n, margin)

    return _probability(images, lost, gained, passes, margin=margin, z=z)


def fail_probability(images: float, lost: float, gained: float, *, margin: float, confidence: float) -> float:
    """The probability that Tango's interval is above `margin`; otherwise like pass_probability."""
    z = quantile(confidence)

    def holds(b: int, c: int, n: int) -> bool:
        distance = (b - c) / n - margin
        return distance <= 0 or distance**2 * n <= z * z * score_variance(b / n, c / n, margin)

    return 1 - _probability(images, lost, gained, holds, margin=margin, z=-z)


def _probability(
    images: float,
    lost: float,
    gained: float,
    holds: Callable[[int, int, int], bool],
    *,
    margin: float,
    z: float,
) -> float:
    """The probability that `holds(lost, gained, images)` is true.

    It is true up to some number of lost images, which grows with the gained ones. z: for the normal approximation, by how
    many standard errors the margin must exceed the drop.
    """
    n, discordance = max(1, round(images)), lost + gained
    if n * discordance > _ENUMERATED:
        drop = lost - gained
        ahead = (margin - drop) * math.sqrt(n) - z * math.sqrt(score_variance(lost, gained, margin))
        deviation = math.sqrt(max(0.0, discordance - drop * drop))
        return NormalDist().cdf(ahead / deviation) if deviation > 0 else float(ahead > 0)
    top = min(n, math.ceil(n * discordance + 6 * math.sqrt(n * discordance) + 10))
    most, b = [], -1
    for c in range(top + 1):
        while b + c < top and holds(b + 1, c, n):
            b += 1
        most.append(b)
    total, b_of = np.arange(top + 1)[:, None], np.arange(top + 1)[None, :]
    passing = (b_of <= total) & (b_of <= np.array(most)[np.clip(total - b_of, 0, top)])
    share = lost / discordance if discordance else 0.0
    return min(
        1.0, float((_binomial(n, discordance, top) @ (passing * _splits(share)[: top + 1, : top + 1])).sum())
    )  # rounding


def _binomial(n: int, p: float, top: int) -> NDArray[np.float64]:
    """Probabilities of 0 to `top` events among n."""
    if p in (0.0, 1.0):
        return np.array([float(k == n * p) for k in range(top + 1)])
    ways, log_p, log_rest, lgamma = math.lgamma(n + 1), math.log(p), math.log1p(-p), math.lgamma
    logs = [ways - lgamma(k + 1) - lgamma(n - k + 1) + k * log_p + (n - k) * log_rest for k in range(top + 1)]
    return np.array([math.exp(log) for log in logs])


@lru_cache(maxsize=32)  # the search for a number of images uses the same share many times
def _splits(share: float) -> NDArray[np.float64]:
    """Row t: the probabilities of 0 to t lost images among t discordant ones, for up to _MOST_DISCORDANT of these."""
    rows = np.zeros((_MOST_DISCORDANT + 1, _MOST_DISCORDANT + 1))
    rows[0, 0] = 1.0
    for earlier, later in pairwise(range(_MOST_DISCORDANT + 1)):
        rows[later] = rows[earlier] * (1 - share)
        rows[later, 1:] += rows[earlier, :-1] * share
    rows.flags.writeable = False
    return rows


def _rates(drop: PairedDrop) -> tuple[float, float]:
    """Probabilities that an image is lost and gained, each with half an effective image more than observed."""
    images, effect = drop.images / drop.design_effect, drop.design_effect
    return (drop.lost / effect + 0.5) / (images + 1), (drop.gained / effect + 0.5) / (images + 1)


def _lesion_size(drop: PairedDrop) -> float:
    return 1.0 if drop.effective_lesions is None else drop.images / drop.effective_lesions


def _later_effect(drop: PairedDrop, images: int) -> float:
    """The design effect on another number of images. More discordant lesions give a better estimate."""
    agreeing, discordant = _lesion_size(drop), drop.discordant_lesions or 0
    known = 1 - unknown_share(discordant)
    if known <= 0 or drop.design_effect >= agreeing:
        return drop.design_effect
    estimate = max(1.0, (drop.design_effect - agreeing * (1 - known)) / known)
    return estimate + (agreeing - estimate) * unknown_share(discordant * images / drop.images)


def _least(decided: Callable[[int], bool]) -> int | None:
    """The smallest number of images that decides, to three digits. The power increases in steps, with small dips between."""
    high = 1
    while not decided(high):
        high *= 2
        if high > _MOST_IMAGES:
            return None
    low = high // 2
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high
