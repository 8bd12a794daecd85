"""Rebuild the image from patches of training images (Guo et al. 2018, https://arxiv.org/abs/1711.00117)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.errors import InvalidInputError

SETTINGS: dict[str, Any] = {"patch": 5, "overlap": 2, "patches": 5000, "nearest": 10}
RANDOM = True


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
    library = _library(examples, patch, patches)
    firsts = np.unique(np.append(np.arange(0, size - patch, patch - overlap), size - patch))
    corners = [(row, column) for row in firsts for column in firsts]
    cut = [image[:, row : row + patch, column : column + patch].ravel() for row, column in corners]
    own = np.stack(cut).astype(np.float32)
    apart = np.square(library).sum(1) - 2 * own @ library.T
    near = np.argpartition(apart, nearest - 1, axis=1)[:, :nearest]
    chosen = near[np.arange(len(own)), rng.integers(nearest, size=len(own))]
    total, count = np.zeros(image.shape, np.float32), np.zeros(image.shape, np.float32)
    for (row, column), number in zip(corners, chosen, strict=True):
        total[:, row : row + patch, column : column + patch] += library[number].reshape(3, patch, patch)
        count[:, row : row + patch, column : column + patch] += 1
    quilted: NDArray[np.uint8] = np.rint(total / count).astype(np.uint8)
    return quilted


def _library(examples: NDArray[np.uint8], patch: int, patches: int) -> NDArray[np.float32]:
    """Squares cut at random places of the images: float32 (patches, 3 patch^2)."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(len(examples), size=patches)
    rows, columns = (rng.integers(side - patch + 1, size=patches) for side in examples.shape[2:])
    within = np.arange(patch)
    # result (patches, patch, patch, 3): numpy puts the axes of the index arrays first
    squares = examples[pictures[:, None, None], :, rows[:, None, None] + within[:, None], columns[:, None, None] + within]
    return squares.transpose(0, 3, 1, 2).reshape(patches, -1).astype(np.float32)
