"""JPEG compression (Dziugaite et al. 2016, https://arxiv.org/abs/1608.00853; Guo et al. 2018)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.errors import InvalidInputError

SETTINGS: dict[str, Any] = {"quality": 75}
RANDOM = False


def defend(
    image: NDArray[np.uint8], *, rng: np.random.Generator, examples: NDArray[np.uint8] | None, quality: int = 75
) -> NDArray[np.uint8]:
    """Write the image, uint8 (3, H, W), as JPEG and read it again. quality: 1 to 95. Uses no random numbers."""
    if not 1 <= quality <= 95:
        raise InvalidInputError(f"defence jpeg: quality {quality}: choose from 1 to 95")
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as opened:
        return np.ascontiguousarray(np.asarray(opened.convert("RGB")).transpose(2, 0, 1))
