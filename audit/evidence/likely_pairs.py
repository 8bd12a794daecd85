"""Finds pairs of similar vectors among many without comparing all pairs: random planes sort the vectors into cells.

Two unit vectors are on the same side of a random plane with probability 1 - angle / pi (Charikar 2002,
https://doi.org/10.1145/509907.509965). Vectors on the same sides of all planes of a table are compared. At a cosine of 0.93,
one table of 17 planes finds 11% of the pairs, and 11% more if the second vector of a pair is turned instead of the first;
the 24 tables find 99% of these pairs. The time is proportional to the number of vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.likeness import Floats, Indices

_TABLES, _FEWEST_PLANES = 24, 8
_CROWD = 8
"""Number of vectors in its cell with which a vector is compared. Pictures without much detail crowd in some cells."""
_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of vectors by their indices, int64 (P,).

    turn: the order of entries in which the second one is most similar to the first, int8 (P,). likeness: their cosine then,
    float32 (P,).
    """

    first: Indices
    second: Indices
    turn: NDArray[np.int8]
    likeness: Floats

    def at(self, chosen: NDArray[np.integer[Any]]) -> Pairs:
        """The pairs at these indices."""
        return Pairs(self.first[chosen], self.second[chosen], self.turn[chosen], self.likeness[chosen])


def likely_pairs(vectors: Floats, turns: Sequence[Indices], *, least: float) -> Iterator[Pairs]:
    """Most pairs whose cosine is at least `least`; a pair may occur more than once.

    vectors: float32 (N, D), of length 1 or 0; vectors of length 0 are similar to none. turns: the orders of the D entries, a
    group, in which the second vector of a pair is tried.
    """
    generator = np.random.default_rng(0)
    planes = max(_FEWEST_PLANES, len(vectors).bit_length())
    rows = np.flatnonzero(vectors.any(axis=1))
    for _ in range(_TABLES):
        table = generator.normal(size=(vectors.shape[1], planes)).astype(np.float32)
        names = _cell_names(vectors, rows, table)
        order = np.argsort(names, kind="stable")
        for index, turn in enumerate(turns):
            turned = np.empty_like(table)
            turned[turn] = table  # so that a vector meets the same planes as its turned copy
            wanted = _cell_names(vectors, rows, turned)
            for first, second in _in_one_cell(rows, rows[order], names[order], wanted):
                likeness = np.einsum("ij,ij->i", vectors[first], vectors[second][:, turn])
                close = np.flatnonzero(likeness >= least)
                yield Pairs(first[close], second[close], np.full(len(close), index, np.int8), likeness[close])


def _cell_names(vectors: Floats, rows: Indices, table: Floats) -> Indices:
    """The sides of all planes for the vectors at `some`, as one number each."""
    weights = 1 << np.arange(table.shape[1], dtype=np.int64)
    parts = [((vectors[rows[at : at + _ROWS]] @ table) > 0) @ weights for at in range(0, len(rows), _ROWS)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _in_one_cell(rows: Indices, ordered: Indices, names: Indices, wanted: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Indices of a vector in `ordered`, whose cells are `names`, and of one in `some` whose cell `wanted` is the same."""
    low, high = np.searchsorted(names, wanted, "left"), np.searchsorted(names, wanted, "right")
    matches = np.minimum(high - low, _CROWD)
    for at in range(0, len(rows), _ROWS):
        count = matches[at : at + _ROWS]
        second = rows[at : at + _ROWS].repeat(count)
        within = np.arange(len(second)) - (count.cumsum() - count).repeat(count)
        first = ordered[low[at : at + _ROWS].repeat(count) + within]
        kept = np.flatnonzero(first != second)
        for part in range(0, len(kept), _ROWS):
            yield first[kept[part : part + _ROWS]], second[kept[part : part + _ROWS]]
