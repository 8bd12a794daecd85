"""Groups images that share a lesion, a patient or a picture, directly or through other images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def joined(*keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of each row's family, int64 (N,), counted from 0 in the order of the first key.

    keys: int64 (N,) each. Rows that share a value of any key belong to one family. A negative value is not shared; the first
    key has no negative values.
    """
    _, family = np.unique(keys[0], return_inverse=True)
    family = family.astype(np.int64)
    changed = len(keys) > 1
    while changed:
        before = family
        for key in keys:
            family = _least_of_each(family, key)
        changed = not np.array_equal(before, family)
    return np.asarray(np.unique(family, return_inverse=True)[1], dtype=np.int64)


def _least_of_each(family: NDArray[np.int64], key: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give all rows that share a value of `key` the smallest family index among them."""
    rows = np.flatnonzero(key >= 0)
    _, value = np.unique(key[rows], return_inverse=True)
    least = np.full(value.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, value, family[rows])
    spread = family.copy()
    spread[rows] = least[value]
    return spread
