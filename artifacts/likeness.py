"""Similarity of two pictures that does not change if one of them was edited.

Every picture is reduced to its luminance on 16 x 16 cells, without slow changes of brightness. It is then whitened by the
covariance of many pictures, so that what all pictures of lesions share, such as a dark spot in the centre, counts little.
The cosine of two results is near 0 for different pictures. It is near 1 for a picture and its copy that was brightened,
compressed, mirrored, turned by a quarter or covered with noise. Pairs that are somewhat similar are compared again with one
picture shifted and slightly enlarged. docs/results/near-copies.md says what this finds, what it misses and how long it
takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.files import Progress

COPY = 0.93
"""Cosine from which two pictures count as the same. The highest among 1,500 HAM10000 images of different lesions is 0.92."""
ALIKE = 0.6
"""Cosine from which a pair is also compared shifted and enlarged."""
CELLS = 16**2
"""Number of values to which a picture is reduced."""
_SIDE, _CELLS = 64, 16
_RIDGE = 0.3
"""Share of the mean variance that is added before whitening, so that noise is not amplified."""
_SHIFTS = (-0.028, 0.0, 0.028)
_PARTS = (1.0, 0.955)
"""Shifts as shares of the side, and the share of the side that is left after a crop."""
_BOTH_WAYS = (*_PARTS, 1 / _PARTS[-1])
"""If the other picture cannot be cropped further, this one is put into a wider frame instead."""
_STEPS = 127
_ROWS = 256
_NEAREST = 8
"""For each picture, only this many most similar recorded pictures are compared shifted and enlarged, to limit the time."""

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


class Whitening:
    """Removes from a picture what many pictures share, in every rotation. Fitted once, used for many.

    cells: float32 (N, CELLS) of the pictures, from `cells_of`.
    """

    def __init__(self, cells: Floats) -> None:
        count, plain_mean = max(1, len(cells)), cells.mean(axis=0)
        self._mean = np.mean([plain_mean[turn] for turn in TURNS], axis=0)
        products = cells.T @ cells / count
        covariance = np.mean([products[np.ix_(turn, turn)] for turn in TURNS], axis=0) - np.outer(self._mean, self._mean)
        variances, axes = np.linalg.eigh(covariance)
        scale = np.sqrt(np.maximum(variances, 0) + _RIDGE * max(float(variances.mean()), 1e-12))
        self._matrix = ((axes / scale) @ axes.T).astype(np.float32)

    def __call__(self, cells: Floats) -> Floats:
        """Unit vectors, float32 (N, CELLS); 0 for a picture without detail, which is similar to no other."""
        plain = (cells - self._mean) @ self._matrix
        length = np.linalg.norm(plain, axis=1, keepdims=True) * (np.abs(cells).max(axis=1, keepdims=True) > 0)
        return np.asarray(np.divide(plain, length, out=np.zeros_like(plain), where=length > 0), np.float32)


def copied_from(luminance: Floats, recorded: Floats, *, progress: Progress | None = None) -> Indices:
    """For each picture the recorded picture of which it is a near-copy, int64 (N,): the most similar one, or -1 for none.

    luminance: float32 (N, side, side), from `reduced_luminance`. recorded: float32 (M, CELLS), from `cells_of`. Only the
    recorded pictures decide what all pictures share, so the result for one picture does not depend on the others. progress:
    called with the number of pictures done and in total.
    """
    nearest_of = np.full(len(luminance), -1, np.int64)
    if not len(recorded):
        return nearest_of
    whiten = Whitening(recorded)
    known = whiten(recorded)
    turned = [np.ascontiguousarray(known[:, turn]) for turn in TURNS]
    for start in range(0, len(luminance), _ROWS):
        part = luminance[start : start + _ROWS]
        likeness, turn = likest(whiten(cells_of(part)), turned)
        first, second = _to_compare(likeness)
        likeness[first, second] = np.maximum(
            likeness[first, second], _moved(part, known, first, second, turn[first, second], whiten)
        )
        nearest = likeness.argmax(axis=1)
        close = likeness[np.arange(len(part)), nearest] >= COPY
        nearest_of[start : start + _ROWS][close] = nearest[close]
        if progress is not None:
            progress(start + len(part), len(luminance))
    return nearest_of


def _to_compare(likeness: Floats) -> tuple[Indices, Indices]:
    """Pairs that are similar but not yet copies: for each picture at most _NEAREST, the most similar ones."""
    count = min(_NEAREST, likeness.shape[1])
    columns = np.argpartition(likeness, -count, axis=1)[:, -count:]
    cosine = np.take_along_axis(likeness, columns, axis=1)
    first, place = np.nonzero((cosine >= ALIKE) & (cosine < COPY))
    return first, columns[first, place]


def likest(pictures: Floats, turned: Sequence[Floats]) -> tuple[Floats, NDArray[np.int8]]:
    """Cosine of each picture with each other one in its best rotation or reflection, and that rotation's index, both (N, M).

    turned: the other pictures, once for each of TURNS.
    """
    likeness = pictures @ turned[0].T
    turn = np.zeros(likeness.shape, np.int8)
    for index, turned_pictures in enumerate(turned[1:], start=1):
        cosine = pictures @ turned_pictures.T
        better = cosine > likeness
        turn[better] = index
        np.maximum(likeness, cosine, out=likeness)
    return likeness, turn


def _moved(
    luminance: Floats, known: Floats, first: Indices, second: Indices, turn: NDArray[np.int8], whiten: Whitening
) -> Floats:
    """The best cosine of each pair when the first picture is moved, in either direction."""
    best = np.full(len(first), -1, np.float32)
    moved_pictures, places = np.unique(first, return_inverse=True)
    for move in moves(_BOTH_WAYS) if len(moved_pictures) else ():
        moved = whiten(cells_of(luminance[moved_pictures], *move))
        for index, order in enumerate(TURNS):
            pairs = np.flatnonzero(turn == index)
            cosine = np.einsum("ij,ij->i", moved[places[pairs]], known[second[pairs]][:, order])
            best[pairs] = np.maximum(best[pairs], cosine)
    return best


def to_bytes(cells: Floats) -> NDArray[np.int8]:
    """Cells in 8 bit, to be stored."""
    largest = np.abs(cells).max(axis=1, keepdims=True, initial=0)
    scaled = np.divide(cells * _STEPS, largest, out=np.zeros_like(cells), where=largest > 0)
    return np.asarray(np.rint(scaled), np.int8)


def from_bytes(stored: NDArray[np.int8]) -> Floats:
    """The inverse of `to_bytes`: length 1 as before, up to rounding."""
    cells = stored.astype(np.float32)
    length = np.linalg.norm(cells, axis=1, keepdims=True)
    return np.asarray(np.divide(cells, length, out=np.zeros_like(cells), where=length > 0), np.float32)


def moves(parts: Sequence[float] = _PARTS) -> Iterator[tuple[float, float, float]]:
    """All shifts and enlargements of a picture for a second comparison: part, down and right of `cells_of`."""
    for part in parts:
        for down in _SHIFTS:
            for right in _SHIFTS:
                if (part, down, right) != (1.0, 0.0, 0.0):
                    yield part, down, right


def reduced_luminance(batch: NDArray[np.uint8]) -> Floats:
    """Luminance of uint8 (N, 3, side, side) with at most _SIDE pixels per side."""
    luminance: Floats = batch.mean(axis=1, dtype=np.float32)
    if luminance.shape[-1] <= _SIDE:
        return luminance
    average = _averaging(luminance.shape[-1], _SIDE)
    return np.asarray(average @ luminance @ average.T, np.float32)


def cells_of(luminance: Floats, part: float = 1.0, down: float = 0.0, right: float = 0.0) -> Floats:
    """Detail on _CELLS x _CELLS cells of a part of each picture, normalised to length 1: float32 (N, 256)."""
    side, start = luminance.shape[-1], (1 - part) / 2
    rows, columns = (_averaging(side, _CELLS, start + shift, start + part + shift) for shift in (down, right))
    cells = rows @ luminance @ columns.T
    cells = _SMOOTH @ (cells - _BLUR @ cells @ _BLUR.T) @ _SMOOTH.T
    cells = (cells - cells.mean(axis=(1, 2), keepdims=True)).reshape(len(luminance), -1)
    length = np.linalg.norm(cells, axis=1, keepdims=True)
    return np.asarray(np.divide(cells, length, out=np.zeros_like(cells), where=length > 1e-2), np.float32)


def _averaging(side: int, cells: int, low: float = 0.0, high: float = 1.0) -> Floats:
    """Weights (cells, side) that average the pixels between two shares of the side; pixels outside repeat the border."""
    edges = np.linspace(low * side, high * side, cells + 1)
    pixels = np.arange(side)
    start, end = np.maximum(edges[:-1, None], pixels), np.minimum(edges[1:, None], pixels + 1)
    weights = np.maximum(0.0, end - start)
    weights[:, 0] += np.clip(-edges[:-1], 0, np.diff(edges))
    weights[:, -1] += np.clip(edges[1:] - side, 0, np.diff(edges))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _gaussian(sigma: float) -> Floats:
    cells = np.arange(_CELLS)
    weights = np.exp(-((cells[:, None] - cells) ** 2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _turns() -> list[Indices]:
    """The order of cells in each of the eight rotations and reflections of a square."""
    plain = np.arange(_CELLS**2).reshape(_CELLS, _CELLS)
    turned = [np.rot90(plain, quarter) for quarter in range(4)]
    return [np.ascontiguousarray(cells).ravel() for square in turned for cells in (square, square[:, ::-1])]


_BLUR, _SMOOTH, TURNS = _gaussian(4.0), _gaussian(0.8), _turns()
"""The order of cells in each of the eight rotations and reflections of a square."""
