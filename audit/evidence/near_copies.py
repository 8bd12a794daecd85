"""Finds images that are near-copies of others, so that they count as one lesion, whatever their names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

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
from skinaudit.audit.evidence.likely_pairs import Pairs, likely_pairs

_ROWS, _COLUMNS = 512, 4096
_PAIRS = 1000
"""Number of pairs that are compared shifted and enlarged at a time."""
EVERY_PAIR = 12_000
"""Up to this number of pictures, all pairs are compared, in quadratic time; for more pictures only likely pairs are."""


@dataclass(frozen=True, eq=False)
class Copies:
    """The near-copies of a set.

    lesions: int64 (N,), those of the set, joined if a picture of one is a near-copy of a picture of another. joined: by how
    many the number of lesions has become smaller. repeated: images with exactly the same bytes as another image of the set.
    every_pair: whether all pairs were compared; for more than EVERY_PAIR pictures only likely pairs are.
    """

    lesions: Indices
    joined: int
    repeated: int
    every_pair: bool = True

    @property
    def lesions_left(self) -> int:
        """The number of lesions that count."""
        return len(np.unique(self.lesions))


_copies_by_digest: dict[str, Copies] = {}
"""By the images digest, which covers pictures and lesions. Engines of one run share their clean set."""


def find_copies(images: AdversarialSet) -> Copies:
    """Compare all pictures of a set of clean images with each other; once per set and process."""
    if images.images_digest not in _copies_by_digest:
        _copies_by_digest[images.images_digest] = _compare_all(images)
    return _copies_by_digest[images.images_digest]


def _compare_all(images: AdversarialSet) -> Copies:
    digests, reduced = [], []
    for batch in images.batches(256):
        digests += [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in batch]
        reduced.append(cells_of(reduced_luminance(batch)))
    _, lesions = np.unique(images.group, return_inverse=True)
    _, same = np.unique(np.array(digests, dtype="S16"), return_inverse=True)
    equal = _join_equal(lesions.astype(np.int64), same.astype(np.int64))
    joined = _join(np.concatenate(reduced), equal, lambda rows: reduced_luminance(images.images_at(rows)))
    joined.setflags(write=False)
    lost = len(np.unique(lesions)) - len(np.unique(joined))
    return Copies(joined, lost, len(same) - len(np.unique(same)), every_pair=len(images) <= EVERY_PAIR)


def join_copies(luminance: Floats, lesions: Indices) -> Indices:
    """`lesions`, int64 (N,), joined if a picture of one is a near-copy of a picture of another.

    luminance: float32 (N, side, side), of square pictures.
    """
    return _join(cells_of(luminance), lesions, lambda rows: luminance[rows])


def _join(cells: Floats, lesions: Indices, luminance: Callable[[Indices], Floats]) -> Indices:
    """See join_copies. cells: of all pictures; overwritten. luminance: returns that of the pictures at ascending indices."""
    pictures = _Pictures(cells, luminance)
    alike = pictures.alike() if len(cells) <= EVERY_PAIR else likely_pairs(pictures.plain, TURNS, least=ALIKE)
    for pairs in alike:
        close = pairs.likeness >= COPY
        lesions = _join_pairs(lesions, pairs.first[close], pairs.second[close])
        open_pairs = np.flatnonzero(lesions[pairs.first] != lesions[pairs.second])
        for start in range(0, len(open_pairs), _PAIRS):
            part = pairs.at(open_pairs[start : start + _PAIRS])
            close = pictures.aligned(part) >= COPY
            lesions = _join_pairs(lesions, part.first[close], part.second[close])
    return lesions


class _Pictures:
    """Whitened pictures, float32 (N, CELLS). Kept because many pairs are compared; others are shifted slightly on demand."""

    def __init__(self, cells: Floats, luminance: Callable[[Indices], Floats]) -> None:
        self._whiten, self._luminance, self.plain = Whitening(cells), luminance, cells
        for start in range(0, len(cells), _COLUMNS):
            cells[start : start + _COLUMNS] = self._whiten(cells[start : start + _COLUMNS])

    def alike(self) -> Iterator[Pairs]:
        """All pairs whose cosine is at least ALIKE in the best rotation of one of them."""
        for column in range(0, len(self.plain), _COLUMNS):
            turned = [np.ascontiguousarray(self.plain[column : column + _COLUMNS, turn]) for turn in TURNS]
            for start in range(0, min(len(self.plain), column + _COLUMNS), _ROWS):
                likeness, turn = likest(self.plain[start : start + _ROWS], turned)
                first, second = np.nonzero(np.triu(likeness >= ALIKE, start + 1 - column))
                yield Pairs(first + start, second + column, turn[first, second], likeness[first, second])

    def aligned(self, pairs: Pairs) -> Floats:
        """The best cosine of each pair when one of the two is moved."""
        best = np.full(len(pairs.first), -1, np.float32)
        rows, places = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)
        first, second = places[: len(best)], places[len(best) :]
        plain, luminance = self.plain[rows], self._luminance(rows)
        for move in moves():
            moved = self._whiten(cells_of(luminance, *move))
            for index, order in enumerate(TURNS):
                chosen = np.flatnonzero(pairs.turn == index)
                first_chosen, second_chosen = first[chosen], second[chosen]
                for unmoved, shifted in ((plain, moved), (moved, plain)):
                    cosine = np.einsum("ij,ij->i", unmoved[first_chosen], shifted[second_chosen][:, order])
                    best[chosen] = np.maximum(best[chosen], cosine)
        return best


def _join_equal(lesions: Indices, same: Indices) -> Indices:
    """Lesions joined if two images have the same value of `same`."""
    order = np.argsort(same, kind="stable")
    equal = np.flatnonzero(np.diff(same[order]) == 0)
    return _join_pairs(lesions, order[equal], order[equal + 1])


def _join_pairs(lesions: Indices, first: Indices, second: Indices) -> Indices:
    """Lesions joined if image `first` and image `second` are the same; a joined lesion gets the smallest of the numbers."""
    names = np.arange(int(lesions.max()) + 1)
    first_lesions, second_lesions = lesions[first], lesions[second]
    while True:
        lowest = np.minimum(names[first_lesions], names[second_lesions])
        if (names[first_lesions] == lowest).all() and (names[second_lesions] == lowest).all():
            return names[lesions]
        np.minimum.at(names, names[first_lesions], lowest)
        np.minimum.at(names, names[second_lesions], lowest)
        while (names[names] != names).any():
            names = names[names]
