"""A random crop of the image, enlarged to the size of the image (Guo et al. 2018, https://arxiv.org/abs/1711.00117)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.errors import InvalidInputError

SETTINGS: dict[str, Any] = {"share": 0.9}
RANDOM = True


def defend(
    image: NDArray[np.uint8], *, rng: np.random.Generator, examples: NDArray[np.uint8] | None, share: float = 0.9
) -> NDArray[np.uint8]:
    """Cut out a random square whose side is `share` of the image's side, and enlarge it bilinearly to uint8 (3, H, H)."""
    rows, columns = factors(image.shape[1], rng=rng, share=share)
    enlarged = rows @ image.astype(np.float32) @ columns.T
    cropped: NDArray[np.uint8] = np.clip(np.rint(enlarged), 0, 255).astype(np.uint8)
    return cropped


def factors(size: int, *, rng: np.random.Generator, share: float = 0.9) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The same as matrices A and B, float32 (size, size): each channel x becomes A x B^T."""
    if not 0 < share <= 1:
        raise InvalidInputError(f"defence crop-rescale: share {share}: choose one above 0, at most 1")
    side = max(2, round(share * size))
    return _enlarging(size, side, int(rng.integers(size - side + 1))), _enlarging(
        size, side, int(rng.integers(size - side + 1))
    )


def _enlarging(size: int, side: int, first: int) -> NDArray[np.float32]:
    """The matrix of the bilinear interpolation of `side` values, starting at index `first`, to `size` values."""
    places = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    below = np.minimum(places.astype(int), side - 2)
    matrix = np.zeros((size, size), np.float32)
    rows = np.arange(size)
    matrix[rows, first + below] = 1 - (places - below)
    matrix[rows, first + below + 1] = places - below
    return matrix
