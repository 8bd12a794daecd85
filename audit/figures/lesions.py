"""The weight of images of one lesion: several pictures of one lesion are less evidence than pictures of several lesions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.lesions import effective_lesions

KNOWN_FROM = 40
"""Lesions with a rare value needed to estimate how images of one lesion agree. With fewer, they are taken to agree."""


def differing_lesions(values: NDArray[np.int64], groups: NDArray[np.int64]) -> int:
    """Lesions with an image whose value is not the most common one; for differences, the discordant lesions.

    values, groups: int64 (N,).
    """
    kinds, counts = np.unique(values, return_counts=True)
    return len(np.unique(groups[values != kinds[counts.argmax()]]))


def design_effect(values: NDArray[np.int64], groups: NDArray[np.int64]) -> float:
    """The factor by which lesions inflate the variance of the mean of `values`, at least 1. values, groups: int64 (N,).

    The estimate is the variance with lesions as the unit, divided by that with images as the unit (Rao and Scott, Biometrics
    48 (1992) 577-585). It is unreliable while few lesions differ: if none differs, it would be 1 for ten lesions of a
    thousand images. So it is mixed with sum m^2 / sum m, its value if the images of a lesion always agree. That value's
    weight is KNOWN_FROM / differing lesions, at most 1. bench/simulate.py shows how often the verdict errs with it.
    """
    count = len(values)
    _, index = np.unique(groups, return_inverse=True)
    lesions = int(index.max()) + 1
    agreeing = count / effective_lesions(groups)
    deviation = values - values.mean()
    naive = float((deviation**2).sum()) / max(1, count - 1)
    if lesions == 1 or naive == 0.0:
        return agreeing
    clustered = float((np.bincount(index, weights=deviation) ** 2).sum()) / count * lesions / (lesions - 1)
    estimate = max(1.0, clustered / naive)
    return max(estimate, estimate + (agreeing - estimate) * unknown_share(differing_lesions(values, groups)))


def unknown_share(differing: float) -> float:
    """The weight of full agreement within lesions in a design effect, for this number of differing lesions."""
    return min(1.0, KNOWN_FROM / max(differing, 1.0))
