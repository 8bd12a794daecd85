"""Pictures made of a few soft spots: as different from each other as pictures of lesions are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.likeness import reduced_luminance
from skinaudit.audit.evidence.likely_pairs import likely_pairs
from skinaudit.audit.evidence.near_copies import _join_pairs, find_copies, join_copies

SIDE, COUNT = 48, 60
Pictures = NDArray[np.uint8]


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    drawn = np.full((COUNT, 3, SIDE, SIDE), 190.0)
    for picture in drawn:
        middle = [(SIDE / 2, SIDE / 2, 12, 70)]
        spots = [(*generator.uniform(0, SIDE, 2), generator.uniform(2, 6), generator.uniform(-50, 50)) for _ in range(12)]
        for down, right, size, depth in (*middle, *spots):
            picture -= depth * np.exp(-((rows - down) ** 2 + (columns - right) ** 2) / (2 * size**2))
    return np.clip(drawn + generator.normal(0, 2, drawn.shape), 0, 255).astype(np.uint8)


def noisy(pictures: Pictures) -> Pictures:
    return np.clip(pictures + np.random.default_rng(1).normal(0, 8, pictures.shape), 0, 255).astype(np.uint8)


def coarse(pictures: Pictures) -> Pictures:
    """As a strong compression leaves them: every 2 x 2 pixels alike."""
    return pictures[:, :, ::2, ::2].repeat(2, axis=2).repeat(2, axis=3)


def cropped(pictures: Pictures) -> Pictures:
    """Without a border of one pixel, enlarged to the whole side."""
    columns = np.clip(np.rint(np.linspace(1, SIDE - 2, SIDE)), 0, SIDE - 1).astype(int)
    return pictures[:, :, columns][:, :, :, columns]


EDITS: dict[str, Callable[[Pictures], Pictures]] = {
    "brighter": lambda pictures: np.clip(pictures * 1.15, 0, 255).astype(np.uint8),
    "darker": lambda pictures: (pictures * 0.8).astype(np.uint8),
    "coarse": coarse,
    "noisy": noisy,
    "mirrored": lambda pictures: pictures[..., ::-1],
    "turned": lambda pictures: np.rot90(pictures, 1, (2, 3)),
    "shifted by one": lambda pictures: np.pad(pictures, ((0, 0), (0, 0), (1, 0), (0, 1)), mode="edge")[:, :, :-1, 1:],
    "cropped": cropped,
    "mirrored and noisy": lambda pictures: noisy(pictures[..., ::-1, :]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_picture_is_no_new_lesion(pictures: Pictures, edit: str) -> None:
    with_copies = np.concatenate([pictures, EDITS[edit](pictures)])
    joined = join_copies(reduced_luminance(with_copies), np.arange(2 * COUNT))
    assert (joined[:COUNT] == joined[COUNT:]).mean() >= 0.95
    assert len(np.unique(joined[:COUNT])) == COUNT


@pytest.mark.parametrize("edit", ["noisy", "turned"])
def test_of_many_pictures_likely_pairs_are_compared(pictures: Pictures, edit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skinaudit.audit.evidence.near_copies.EVERY_PAIR", 10)
    with_copies = np.concatenate([pictures, EDITS[edit](pictures)])
    joined = join_copies(reduced_luminance(with_copies), np.arange(2 * COUNT))
    assert (joined[:COUNT] == joined[COUNT:]).mean() >= 0.95
    assert len(np.unique(joined[:COUNT])) == COUNT


def test_likely_pairs_of_many_vectors_are_most_of_those_that_are_very_like() -> None:
    generator = np.random.default_rng(2)
    vectors = generator.normal(size=(1000, 64)).astype(np.float32)
    vectors[500:] = vectors[:500] + generator.normal(scale=0.3, size=(500, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    turns = [np.arange(64), np.arange(64)[::-1]]
    likely = {
        tuple(sorted(pair))
        for pairs in likely_pairs(vectors, turns, least=0.93)
        for pair in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    }
    alike = {(row, row + 500) for row in range(500) if vectors[row] @ vectors[row + 500] >= 0.93}
    assert len(alike) > 300
    assert likely <= alike
    assert len(likely) >= 0.95 * len(alike)


def test_different_pictures_stay_different(pictures: Pictures) -> None:
    assert join_copies(reduced_luminance(pictures), np.arange(COUNT)).tolist() == list(range(COUNT))


def test_pictures_without_detail_are_like_no_other() -> None:
    flat = np.arange(0, 200, 20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 16, 16), np.uint8)
    assert join_copies(reduced_luminance(flat), np.arange(10)).tolist() == list(range(10))


def test_lesions_join_through_others() -> None:
    lesions = np.array([0, 1, 2, 3, 3, 4])
    assert _join_pairs(lesions, np.array([0, 2, 4]), np.array([2, 3, 5])).tolist() == [0, 1, 0, 0, 0, 0]
    assert _join_pairs(lesions, np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == lesions.tolist()


def test_a_set_is_compared_once_and_another_one_anew(make_set: Callable[..., Path], tmp_path: Path) -> None:
    """Also where another set lies under the same name: what is kept is kept by the digest of the pictures and lesions."""
    path = make_set(tmp_path / "clean.safetensors", count=6)
    first = find_copies(open_set(path))
    assert find_copies(open_set(path)) is first
    again = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    again[5] = again[0]
    assert (first.repeated, find_copies(open_set(make_set(path, images=again))).repeated) == (0, 1)
    assert find_copies(open_set(make_set(path, images=again, group=np.zeros(6, np.int64)))).lesions_left == 1
