"""Subgroups of a set's images (age, sex, site, skin type, source): one text per image and subgroup, empty if unknown.

In a set's file each is a tensor `subgroup.NAME` uint8 (N, L), padded with zeros. A set may have none of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.printable import UNPRINTABLE
from skinaudit.artifacts.texts import padded, unpadded

Subgroups = Mapping[str, tuple[str, ...]]
"""By name, one value per image."""

_PREFIX = "subgroup."
_NAME = re.compile(r"[a-z][a-z_]{0,31}")
LONGEST = 200
"""Largest number of characters in a value."""
_MOST = 16


def tensors(subgroups: Subgroups) -> dict[str, NDArray[np.uint8]]:
    """The tensors for a set's file, in the order of their names."""
    return {f"{_PREFIX}{name}": padded(subgroups[name]) for name in sorted(subgroups)}


def names_among(keys: Collection[str]) -> tuple[str, ...]:
    """Names of the subgroups among a file's tensors, sorted."""
    return tuple(sorted(key for key in keys if key.startswith(_PREFIX)))


def from_tensors(tensors: Mapping[str, NDArray[np.uint8]]) -> Subgroups:
    """The subgroups in these tensors; raises UnicodeDecodeError if one is not text."""
    return {key.removeprefix(_PREFIX): unpadded(rows) for key, rows in tensors.items()}


def problem(subgroups: Subgroups, images: int) -> str:
    """What is wrong with the subgroups of a set with this many images; empty if nothing is."""
    if len(subgroups) > _MOST:
        return f"{len(subgroups)} subgroups, at most {_MOST} are read"
    for name, values in subgroups.items():
        if not _NAME.fullmatch(name):
            return f"a subgroup's name has other characters than a to z and _: {name!r}"
        if len(values) != images:
            return f"subgroup {name} has {len(values)} values for {images} images"
        if any(len(value) > LONGEST or UNPRINTABLE.search(value) for value in values):
            return f"subgroup {name} has a value with control characters or more than {LONGEST} letters"
    return ""


def of_rows(subgroups: Subgroups, rows: Sequence[int] | NDArray[np.int64]) -> Subgroups:
    """The subgroups of some images, without those that are unknown for all of them."""
    values_of = {name: tuple(values[row] for row in rows) for name, values in subgroups.items()}
    return {name: values for name, values in values_of.items() if any(values)}
