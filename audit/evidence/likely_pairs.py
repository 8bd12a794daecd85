"""Pairs of like vectors among many, without comparing each with each: random planes sort them into cells.

Two unit vectors lie on the same side of a random plane with probability 1 - angle / pi (Charikar 2002,
https://doi.org/10.1145/509907.509965). Vectors with equal sides of all planes of a table are compared. At a cosine of 0.93
one table of 17 planes finds 11% of the pairs, and 11% more from the other end where one is turned; the 24 tables find 99%
of those. The time is in proportion to the number of vectors.
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
"""Vectors of a cell that one is compared with: cells of many hold what has little detail."""
_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of vectors by their places, int64 (P,). turn: in which order of cells the second one is most
    like the first, int8 (P,). likeness: their cosine then, float32 (P,)."""

    first: Indices
    second: Indices
    turn: NDArray[np.int8]
    likeness: Floats

    def at(self, chosen: NDArray[np.integer[Any]]) -> Pairs:
        """Those at these places."""
        return Pairs(self.first[chosen], self.second[chosen], self.turn[chosen], self.likeness[chosen])


def likely_pairs(vectors: Floats, turns: Sequence[Indices], *, least: float) -> Iterator[Pairs]:
    """Pairs whose cosine is at least `least`, most of those that are very like; a pair may come more than once.

    vectors: float32 (N, D), of length 1 or 0; those of 0 are like no other. turns: orders of the D entries in which the
    second vector of a pair is tried, a group.
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
            turned[turn] = table  # so that a vector meets the planes as its turned copy would
            wanted = _cell_names(vectors, rows, turned)
            for first, second in _in_one_cell(rows, rows[order], names[order], wanted):
                likeness = np.einsum("ij,ij->i", vectors[first], vectors[second][:, turn])
                close = np.flatnonzero(likeness >= least)
                yield Pairs(first[close], second[close], np.full(len(close), index, np.int8), likeness[close])


def _cell_names(vectors: Floats, rows: Indices, table: Floats) -> Indices:
    """The sides of all planes that the vectors at `some` lie on, as one number each."""
    weights = 1 << np.arange(table.shape[1], dtype=np.int64)
    parts = [((vectors[rows[at : at + _ROWS]] @ table) > 0) @ weights for at in range(0, len(rows), _ROWS)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _in_one_cell(rows: Indices, ordered: Indices, names: Indices, wanted: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Places of a vector of `ordered`, whose cells are `names`, and of another of `some` whose cell `wanted` is the same."""
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
