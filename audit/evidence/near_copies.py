"""Pictures that are near-copies of others, so that they count as one lesion whatever names they carry.

Every picture is reduced to its luminance on 16 x 16 cells, without its slow changes of brightness, and whitened by the
covariance of the set: what all pictures of lesions share, a dark spot in the middle, then counts little. The cosine between
two of these is near 0 for different pictures, and near 1 for a picture and its copy that was brightened, compressed,
mirrored, turned by a quarter or covered with noise. Pairs that are somewhat alike are compared once more, one of them
shifted and enlarged by a little. docs/results/near-copies.md says what it finds, what it misses and how long it takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.audit.evidence.likely_pairs import Floats, Indices, Pairs, likely_pairs

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
_COLUMNS = 4096
_PAIRS = 1000
"""Pairs that are compared shifted and enlarged at a time."""
EVERY_PAIR = 12_000
"""Pictures of which each is compared with each. The time for that is their number squared; of more only likely pairs are."""


@dataclass(frozen=True, eq=False)
class Copies:
    """lesions: int64 (N,), those of the set, joined where a picture of one is a near-copy of a picture of another. joined:
    how many lesions are fewer for that. repeated: images whose bytes another image of the set has, too. every_pair: whether
    each was compared with each; of more than EVERY_PAIR pictures the likely pairs are.
    """

    lesions: Indices
    joined: int
    repeated: int
    every_pair: bool = True

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
        reduced.append(_cells(reduced_luminance(batch)))
    _, lesions = np.unique(images.group, return_inverse=True)
    _, same = np.unique(np.array(digests, dtype="S16"), return_inverse=True)
    equal = _join_equal(lesions.astype(np.int64), same.astype(np.int64))
    joined = _join(np.concatenate(reduced), equal, lambda rows: reduced_luminance(images.images_at(rows)))
    joined.setflags(write=False)
    lost = len(np.unique(lesions)) - len(np.unique(joined))
    return Copies(joined, lost, len(same) - len(np.unique(same)), every_pair=len(images) <= EVERY_PAIR)


def join_copies(luminance: Floats, lesions: Indices) -> Indices:
    """`lesions`, int64 (N,), joined where a picture of one is a near-copy of a picture of another.

    luminance: float32 (N, side, side), of square pictures.
    """
    return _join(_cells(luminance), lesions, lambda rows: luminance[rows])


def _join(cells: Floats, lesions: Indices, luminance: Callable[[Indices], Floats]) -> Indices:
    """As join_copies; cells: of the pictures, which are overwritten. luminance: of the pictures at ascending places."""
    pictures = _Pictures(cells, luminance)
    found = pictures.alike() if len(cells) <= EVERY_PAIR else likely_pairs(pictures.plain, _TURNS, least=_ALIKE)
    for pairs in found:
        close = pairs.likeness >= COPY
        lesions = _join_pairs(lesions, pairs.first[close], pairs.second[close])
        open_pairs = np.flatnonzero(lesions[pairs.first] != lesions[pairs.second])
        for start in range(0, len(open_pairs), _PAIRS):
            some = pairs.at(open_pairs[start : start + _PAIRS])
            close = pictures.aligned(some) >= COPY
            lesions = _join_pairs(lesions, some.first[close], some.second[close])
    return lesions


class _Pictures:
    """Whitened pictures, float32 (N, 256), held open because every pair is compared; others are moved a little on demand."""

    def __init__(self, cells: Floats, luminance: Callable[[Indices], Floats]) -> None:
        mean = cells.mean(axis=0, dtype=np.float64)
        spread = np.zeros((cells.shape[1],) * 2)
        for part in _parts(cells):
            spread += part.T.astype(np.float64) @ part
        self._mean = np.mean([mean[turn] for turn in _TURNS], axis=0).astype(np.float32)
        turned = np.mean([spread[np.ix_(turn, turn)] for turn in _TURNS], axis=0) / len(cells)
        variances, axes = np.linalg.eigh(turned - np.outer(self._mean, self._mean))
        scale = np.sqrt(np.maximum(variances, 0) + _RIDGE * max(float(variances.mean()), 1e-12))
        self._whiten = ((axes / scale) @ axes.T).astype(np.float32)
        self._luminance = luminance
        for part in _parts(cells):
            part[:] = self._whitened(part)
        self.plain = cells

    def alike(self) -> Iterator[Pairs]:
        """All pairs whose cosine is at least _ALIKE, as one of the two is turned best."""
        count = len(self.plain)
        for start in range(0, count, _ROWS):
            rows = self.plain[start : start + _ROWS]
            turned = [np.ascontiguousarray(rows[:, np.argsort(turn)]) for turn in _TURNS]
            for column in range(start, count, _COLUMNS):
                others = self.plain[column : column + _COLUMNS].T
                likeness, turn = turned[0] @ others, np.zeros((len(rows), others.shape[1]), np.int8)
                for index, row in enumerate(turned[1:], start=1):
                    found = row @ others
                    turn[found > likeness] = index
                    np.maximum(likeness, found, out=likeness)
                first, second = np.nonzero(np.triu(likeness >= _ALIKE, start + 1 - column))
                yield Pairs(first + start, second + column, turn[first, second], likeness[first, second])

    def aligned(self, pairs: Pairs) -> Floats:
        """The best cosine of each pair where one of the two is moved."""
        best = np.full(len(pairs.first), -1, np.float32)
        if not len(best):
            return best
        some, places = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)
        first, second = places[: len(best)], places[len(best) :]
        plain, luminance = self.plain[some], self._luminance(some)
        for move in _moves():
            moved = self._whitened(_cells(luminance, *move))
            for index, order in enumerate(_TURNS):
                chosen = np.flatnonzero(pairs.turn == index)
                one, other = first[chosen], second[chosen]
                for left, right in ((plain, moved), (moved, plain)):
                    found = np.einsum("ij,ij->i", left[one], right[other][:, order])
                    best[chosen] = np.maximum(best[chosen], found)
        return best

    def _whitened(self, cells: Floats) -> Floats:
        """Unit vectors, float32 (N, 256); 0 for a picture without detail, which is like no other."""
        plain = (cells - self._mean) @ self._whiten
        length = np.linalg.norm(plain, axis=1, keepdims=True) * (np.abs(cells).max(axis=1, keepdims=True) > 0)
        return np.asarray(np.divide(plain, length, out=np.zeros_like(plain), where=length > 0), np.float32)


def _parts(cells: Floats) -> Iterator[Floats]:
    for start in range(0, len(cells), _COLUMNS):
        yield cells[start : start + _COLUMNS]


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
