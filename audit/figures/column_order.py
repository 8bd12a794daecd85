"""Finds which output column belongs to which class, from the outputs for labelled images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Order = tuple[int, ...]
"""For each class its column."""


@dataclass(frozen=True)
class FittedOrder:
    """An order of columns.

    order: the column of each class. name: of the common order that it is; empty if it is none. unsure: pairs of classes, by
    number, whose columns could also be exchanged.
    """

    order: Order
    name: str
    unsure: tuple[tuple[int, int], ...]


def fit_order(
    logits: NDArray[np.float32], labels: Indices, usual: Mapping[str, Order], *, confidence: float = 0.99
) -> FittedOrder:
    """The order of columns that fits the labels best; the first fitting one of `usual` if none is clearly better.

    logits: float32 (N, columns), with as many columns as classes. Each class gets the column that its images choose most
    often, and that is larger on them than on other images, so that the sum over all classes is as large as possible (Kuhn
    1955).
    """
    scores = speaking_for(logits)
    classes = logits.shape[1]
    means = np.array([scores[labels == index].mean(axis=0) if (labels == index).any() else np.zeros(classes)
                      for index in range(classes)])  # fmt: skip
    best = assign(means)
    z = NormalDist().inv_cdf(confidence)
    for name, order in usual.items():
        if _gain(scores, labels, best, order, z) <= 0:
            return FittedOrder(order, name, ())
    pairs = [(first, second) for first in range(classes) for second in range(first + 1, classes)]
    unsure = [pair for pair in pairs if _gain(scores, labels, best, _exchanged(best, pair), z) <= 0]
    return FittedOrder(best, "", tuple(unsure))


def assign(values: Array) -> Order:
    """For each row its own column, so that the sum of the chosen values (n, n) is largest: the Hungarian method."""
    count = len(values)
    cost = values.max() - values
    of_row, of_column = np.zeros(count + 1), np.zeros(count + 1)
    row_of = np.zeros(count + 1, int)  # by column, counted from 1; 0 means free
    for row in range(1, count + 1):
        row_of[0], column = row, 0
        least, before = np.full(count + 1, math.inf), np.zeros(count + 1, int)
        used = np.zeros(count + 1, bool)
        while row_of[column]:
            used[column] = True
            reduced = cost[row_of[column] - 1] - of_row[row_of[column]] - of_column[1:]
            better = ~used[1:] & (reduced < least[1:])
            least[1:][better], before[1:][better] = reduced[better], column
            open_columns = np.flatnonzero(~used[1:]) + 1
            following = int(open_columns[least[open_columns].argmin()])
            step = least[following]
            of_row[row_of[used]] += step
            of_column[used] -= step
            least[~used] -= step
            column = following
        while column:
            row_of[column] = row_of[before[column]]
            column = int(before[column])
    columns = np.empty(count, int)
    columns[row_of[1:] - 1] = np.arange(count)
    return tuple(int(column) for column in columns)


def speaking_for(logits: NDArray[np.float32]) -> Array:
    """How strongly each image supports each column: its rank among all images, 0 to 1, plus 1 if it chooses the column."""
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    shares = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    ranks = shares.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") / max(1, len(logits) - 1)
    named = np.zeros_like(wide)
    named[np.arange(len(wide)), wide.argmax(axis=1)] = 1
    return np.asarray(ranks + named)


def _gain(scores: Array, labels: Indices, order: Order, other: Order, z: float) -> float:
    """Lower bound of how much better `order` fits than `other`: a sum of means over the images of each class."""
    gain, variance = 0.0, 0.0
    for index in np.unique(labels):
        if order[index] == other[index]:
            continue
        rows = scores[labels == index]
        differences = rows[:, order[index]] - rows[:, other[index]]
        gain += float(differences.mean())
        variance += float(differences.var(ddof=1) / len(rows)) if len(rows) > 1 else 1.0
    return gain - z * math.sqrt(variance)


def _exchanged(order: Sequence[int], pair: tuple[int, int]) -> Order:
    changed = list(order)
    changed[pair[0]], changed[pair[1]] = changed[pair[1]], changed[pair[0]]
    return tuple(changed)
