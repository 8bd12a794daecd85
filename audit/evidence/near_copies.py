"""Pictures that are near-copies of others, so that they count as one lesion whatever names they carry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.likeness import (
    ALIKE,
    COPY,
    TURNS,
    Floats,
    Indices,
    Whitening,
    cells_of,
    likest,
    moves,
    reduced_luminance,
)

_ROWS = 512


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
        first, second = np.nonzero(np.triu(likeness >= ALIKE, start + 1))
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
        cells = cells_of(luminance)
        self._whiten = Whitening(cells)
        self._plain = self._whiten(cells)
        self._turned = [np.ascontiguousarray(self._plain[:, turn]) for turn in TURNS]
        self._luminance = luminance

    def best(self, rows: Indices) -> tuple[Floats, NDArray[np.int8]]:
        """The cosine of each of `rows` with every picture as it is turned best, and that turn."""
        return likest(self._plain[rows], self._turned)

    def aligned(self, first: Indices, second: Indices, turn: NDArray[np.int8]) -> Floats:
        """The best cosine of each pair where one of the two is moved."""
        best = np.full(len(first), -1, np.float32)
        some, places = np.unique(np.concatenate([first, second]), return_inverse=True)
        first, second = places[: len(first)], places[len(first) :]
        plain = self._plain[some]
        all_moved = [self._whiten(cells_of(self._luminance[some], *move)) for move in moves()] if len(some) else []
        for index, order in enumerate(TURNS):
            pairs = np.flatnonzero(turn == index)
            if not len(pairs):
                continue
            one, other = first[pairs], second[pairs]
            for moved in all_moved:
                for left, right in ((plain, moved), (moved, plain)):
                    found = np.einsum("ij,ij->i", left[one], right[other][:, order])
                    best[pairs] = np.maximum(best[pairs], found)
        return best


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
