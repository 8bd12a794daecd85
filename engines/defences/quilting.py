"""Rebuild the image from patches of training images (Guo et al. 2018, https://arxiv.org/abs/1711.00117)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.errors import InvalidInputError

SETTINGS: dict[str, Any] = {"patch": 5, "overlap": 2, "patches": 5000, "nearest": 10}
RANDOM = True

_BLOCK = 50
"""Training squares whose nearest one is found first. The N nearest squares are in the N blocks with the nearest ones."""


def defend(
    image: NDArray[np.uint8], *, rng: np.random.Generator, examples: NDArray[np.uint8] | None, patch: int = 5,
    overlap: int = 2, patches: int = 5000, nearest: int = 10,
) -> NDArray[np.uint8]:  # fmt: skip
    """Replace each square of the image, uint8 (3, H, W), by a random one of its `nearest` among `patches` training squares.

    Where squares overlap, their values are averaged. The paper cuts along the seam of least difference instead. The training
    squares are the same in each call.
    """
    size = image.shape[1]
    if examples is None or not 0 <= overlap < patch <= size or not 1 <= nearest <= patches:
        raise InvalidInputError(
            f"defence quilting: patch {patch}, overlap {overlap}, patches {patches}, nearest {nearest}: needs training "
            "images, overlap < patch, and nearest <= patches"
        )
    library = _library_of(examples, patch, patches)
    firsts = np.unique(np.append(np.arange(0, size - patch, patch - overlap), size - patch))
    corners = [(row, column) for row in firsts for column in firsts]
    cut = [image[:, row : row + patch, column : column + patch].ravel() for row, column in corners]
    own = np.stack(cut).astype(np.float32)
    near = library.nearest(own, count=nearest)
    chosen = near[np.arange(len(own)), rng.integers(nearest, size=len(own))]
    total, count = np.zeros(image.shape, np.float32), np.zeros(image.shape, np.float32)
    for (row, column), number in zip(corners, chosen, strict=True):
        total[:, row : row + patch, column : column + patch] += library.squares[number].reshape(3, patch, patch)
        count[:, row : row + patch, column : column + patch] += 1
    quilted: NDArray[np.uint8] = np.rint(total / count).astype(np.uint8)
    return quilted


@dataclass(frozen=True, eq=False)
class _Library:
    """Squares of training images: float32 (patches, 3 patch^2). images, patch: what they were cut from, and their side."""

    images: NDArray[np.uint8]
    patch: int
    squares: NDArray[np.float32]
    lengths: NDArray[np.float32]

    def nearest(self, own: NDArray[np.float32], *, count: int) -> NDArray[np.int64]:
        """The rows (n, count) of the squares nearest to each of `own` (n, 3 patch^2), the nearest first."""
        apart = self.lengths - 2 * own @ self.squares.T
        blocks = -(-apart.shape[1] // _BLOCK)
        if blocks > count:
            filled = np.full((len(own), blocks * _BLOCK), np.inf, np.float32)
            filled[:, : apart.shape[1]] = apart
            least = filled.reshape(len(own), blocks, _BLOCK).min(2)
            kept = np.sort(np.argpartition(least, count - 1, axis=1)[:, :count], axis=1)
            rows = (kept[:, :, None] * _BLOCK + np.arange(_BLOCK)).reshape(len(own), -1)
            apart = np.take_along_axis(filled, rows, axis=1)
        else:
            rows = np.broadcast_to(np.arange(apart.shape[1]), apart.shape)
        # sorted, so that of two equally near squares the one with the smaller number comes first
        first = np.sort(np.argpartition(apart, count - 1, axis=1)[:, :count], axis=1)
        order = np.argsort(np.take_along_axis(apart, first, axis=1), axis=1, kind="stable")
        return np.take_along_axis(rows, np.take_along_axis(first, order, axis=1), axis=1)


_LAST: list[_Library] = []
_ONE_CUTS = threading.Lock()


def _library_of(examples: NDArray[np.uint8], patch: int, patches: int) -> _Library:
    """The squares of these images; cut once for calls that follow each other. The images must not change in between."""
    with _ONE_CUTS:
        for last in _LAST:
            if last.images is examples and (last.patch, len(last.squares)) == (patch, patches):
                return last
        squares = _squares(examples, patch, patches)
        _LAST[:] = [_Library(examples, patch, squares, np.square(squares).sum(1))]
        return _LAST[0]


def _squares(examples: NDArray[np.uint8], patch: int, patches: int) -> NDArray[np.float32]:
    """Squares cut at random places of the images: float32 (patches, 3 patch^2)."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(len(examples), size=patches)
    rows, columns = (rng.integers(side - patch + 1, size=patches) for side in examples.shape[2:])
    within = np.arange(patch)
    # result (patches, patch, patch, 3): numpy puts the axes of the index arrays first
    squares = examples[pictures[:, None, None], :, rows[:, None, None] + within[:, None], columns[:, None, None] + within]
    return squares.transpose(0, 3, 1, 2).reshape(patches, -1).astype(np.float32)
