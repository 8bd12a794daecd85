"""Pictures that are near-copies of others, so that they count as one lesion whatever names they carry.

Every picture is reduced to its luminance on 16 x 16 cells, without its slow changes of brightness, and whitened by the
covariance of the set: what all pictures of lesions share, a dark spot in the middle, then counts little. The cosine between
two of these is near 0 for different pictures, and near 1 for a picture and its copy that was brightened, compressed,
mirrored, turned by a quarter or covered with noise. Pairs that are somewhat alike are compared once more, one of them
shifted and enlarged by a little. docs/results/near-copies.md says what it finds, what it misses and how long it takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet

COPY = 0.93
"""Cosine from which two pictures are one. Two of 1,500 HAM10000 images of different lesions reach 0.92."""
_ALIKE = 0.6
"""Cosine from which a pair is compared shifted and enlarged, too."""
_SIDE, _CELLS = 64, 16
_RIDGE = 0.3
"""Of the mean variance, added to all before whitening: noise is not blown up."""
_SHIFTS = (-0.028, 0.0, 0.028)
_PARTS = (1.0, 0.955)
"""Shifts as a share of the side, and the share of the side that is left by a crop."""
_ROWS = 512

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Copies:
    """lesions: int64 (N,), those of the set, joined where a picture of one is a near-copy of a picture of another. joined:
    how many lesions are fewer for that. repeated: images whose bytes another image of the set has, too.
    """

    lesions: Indices
    joined: int
    repeated: int

    @property
    def lesions_left(self) -> int:
        """How many lesions count."""
        return len(np.unique(self.lesions))


_found: dict[str, Copies] = {}
"""By the images digest, which covers pictures and lesions: engines of one run share their clean set."""


def find_copies(images: AdversarialSet) -> Copies:
    """Compare all pictures of a set of clean images with each other; once for each set in a process."""
    if images.images_digest not in _found:
        _found[images.images_digest] = _compare_all(images)
    return _found[images.images_digest]


def _compare_all(images: AdversarialSet) -> Copies:
    digests, reduced = [], []
    for batch in images.batches(256):
        digests += [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in batch]
        reduced.append(reduced_luminance(batch))
    _, lesions = np.unique(images.group, return_inverse=True)
    _, same = np.unique(np.array(digests, dtype="S16"), return_inverse=True)
    equal = _join_equal(lesions.astype(np.int64), same.astype(np.int64))
    joined = join_copies(np.concatenate(reduced), equal)
    joined.setflags(write=False)
    return Copies(joined, len(np.unique(lesions)) - len(np.unique(joined)), len(same) - len(np.unique(same)))


def join_copies(luminance: Floats, lesions: Indices) -> Indices:
    """`lesions`, int64 (N,), joined where a picture of one is a near-copy of a picture of another.

    luminance: float32 (N, side, side), of square pictures.
    """
    count = len(luminance)
    pictures = _Pictures(luminance)
    for start in range(0, count, _ROWS):
        rows = np.arange(start, min(count, start + _ROWS))
        likeness, turn = pictures.best(rows)
        first, second = np.nonzero(np.triu(likeness >= _ALIKE, start + 1))
        close = likeness[first, second] >= COPY
        lesions = _join_pairs(lesions, first[close] + start, second[close])
        open_pairs = lesions[first + start] != lesions[second]
        first, second = first[open_pairs], second[open_pairs]
        close = pictures.aligned(first + start, second, turn[first, second]) >= COPY
        lesions = _join_pairs(lesions, first[close] + start, second[close])
    return lesions


class _Pictures:
    """Whitened pictures, plain and moved a little; held open because every pair is compared."""

    def __init__(self, luminance: Floats) -> None:
        cells = _cells(luminance)
        turned = np.concatenate([cells[:, turn] for turn in _TURNS])
        self._mean = turned.mean(axis=0)
        turned -= self._mean
        variances, axes = np.linalg.eigh(turned.T @ turned / len(turned))
        scale = np.sqrt(np.maximum(variances, 0) + _RIDGE * max(float(variances.mean()), 1e-12))
        self._whiten = ((axes / scale) @ axes.T).astype(np.float32)
        self._plain = self._whitened(cells)
        self._turned = [np.ascontiguousarray(self._plain[:, turn]) for turn in _TURNS]
        self._luminance = luminance

    def best(self, rows: Indices) -> tuple[Floats, NDArray[np.int8]]:
        """The cosine of each of `rows` with every picture as it is turned best, and that turn."""
        likeness = self._plain[rows] @ self._turned[0].T
        turn = np.zeros(likeness.shape, np.int8)
        for index, turned in enumerate(self._turned[1:], start=1):
            found = self._plain[rows] @ turned.T
            better = found > likeness
            turn[better] = index
            np.maximum(likeness, found, out=likeness)
        return likeness, turn

    def aligned(self, first: Indices, second: Indices, turn: NDArray[np.int8]) -> Floats:
        """The best cosine of each pair where one of the two is moved."""
        best = np.full(len(first), -1, np.float32)
        some, places = np.unique(np.concatenate([first, second]), return_inverse=True)
        first, second = places[: len(first)], places[len(first) :]
        plain = self._plain[some]
        moves = [self._whitened(_cells(self._luminance[some], *move)) for move in _moves()] if len(some) else []
        for index, order in enumerate(_TURNS):
            pairs = np.flatnonzero(turn == index)
            if not len(pairs):
                continue
            one, other = first[pairs], second[pairs]
            for moved in moves:
                for left, right in ((plain, moved), (moved, plain)):
                    found = np.einsum("ij,ij->i", left[one], right[other][:, order])
                    best[pairs] = np.maximum(best[pairs], found)
        return best

    def _whitened(self, cells: Floats) -> Floats:
        """Unit vectors, float32 (N, 256); 0 for a picture without detail, which is like no other."""
        plain = (cells - self._mean) @ self._whiten
        length = np.linalg.norm(plain, axis=1, keepdims=True) * (np.abs(cells).max(axis=1, keepdims=True) > 0)
        return np.asarray(np.divide(plain, length, out=np.zeros_like(plain), where=length > 0), np.float32)


def _moves() -> Iterator[tuple[float, float, float]]:
    for part in _PARTS:
        for down in _SHIFTS:
            for right in _SHIFTS:
                if (part, down, right) != (1.0, 0.0, 0.0):
                    yield part, down, right


def reduced_luminance(batch: NDArray[np.uint8]) -> Floats:
    """Luminance of uint8 (N, 3, side, side) at no more than _SIDE pixels a side."""
    luminance: Floats = batch.mean(axis=1, dtype=np.float32)
    if luminance.shape[-1] <= _SIDE:
        return luminance
    average = _averaging(luminance.shape[-1], _SIDE)
    return np.asarray(average @ luminance @ average.T, np.float32)


def _cells(luminance: Floats, part: float = 1.0, down: float = 0.0, right: float = 0.0) -> Floats:
    """Detail on _CELLS x _CELLS cells of a part of each picture, of length 1: float32 (N, 256)."""
    side, start = luminance.shape[-1], (1 - part) / 2
    rows, columns = (_averaging(side, _CELLS, start + shift, start + part + shift) for shift in (down, right))
    cells = rows @ luminance @ columns.T
    cells = _SMOOTH @ (cells - _BLUR @ cells @ _BLUR.T) @ _SMOOTH.T
    cells = (cells - cells.mean(axis=(1, 2), keepdims=True)).reshape(len(luminance), -1)
    length = np.linalg.norm(cells, axis=1, keepdims=True)
    return np.asarray(np.divide(cells, length, out=np.zeros_like(cells), where=length > 1e-2), np.float32)


def _averaging(side: int, cells: int, low: float = 0.0, high: float = 1.0) -> Floats:
    """Weights (cells, side) that average the pixels between two shares of the side; the border goes on beyond it."""
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
    """The order of cells in each of the eight turns and mirror images of a square."""
    plain = np.arange(_CELLS**2).reshape(_CELLS, _CELLS)
    turned = [np.rot90(plain, quarter) for quarter in range(4)]
    return [np.ascontiguousarray(cells).ravel() for square in turned for cells in (square, square[:, ::-1])]


_BLUR, _SMOOTH, _TURNS = _gaussian(4.0), _gaussian(0.8), _turns()


def _join_equal(lesions: Indices, same: Indices) -> Indices:
    """Lesions joined where two images have one value of `same`."""
    order = np.argsort(same, kind="stable")
    equal = np.flatnonzero(np.diff(same[order]) == 0)
    return _join_pairs(lesions, order[equal], order[equal + 1])


def _join_pairs(lesions: Indices, first: Indices, second: Indices) -> Indices:
    """Lesions joined where image `first` and image `second` are one; a joined lesion has the lowest of the names."""
    names = np.arange(int(lesions.max()) + 1)
    one, other = lesions[first], lesions[second]
    while True:
        lowest = np.minimum(names[one], names[other])
        if (names[one] == lowest).all() and (names[other] == lowest).all():
            return names[lesions]
        np.minimum.at(names, names[one], lowest)
        np.minimum.at(names, names[other], lowest)
        while (names[names] != names).any():
            names = names[names]
