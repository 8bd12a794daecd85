"""The denoising operations of feature denoising (Xie et al. 2019, https://arxiv.org/abs/1812.03411), applied to the image.

The paper puts them between layers of a network that is trained with them. In front of a finished model they can only clean
its input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.errors import InvalidInputError

SETTINGS: dict[str, Any] = {"kind": "median", "window": 3}
RANDOM = False
_KINDS = ("mean", "median", "bilateral")
_SPREAD = 25.0
"""Of the values that a bilateral mean weighs alike, in steps of 8 bit."""


def defend(
    image: NDArray[np.uint8], *, rng: np.random.Generator, examples: NDArray[np.uint8] | None, kind: str = "median",
    window: int = 3,
) -> NDArray[np.uint8]:  # fmt: skip
    """The mean, median or bilateral mean of each value's `window` x `window` neighbours; image uint8 (3, H, W)."""
    if kind not in _KINDS or window < 3 or window % 2 == 0:
        raise InvalidInputError(
            f"defence denoise: kind {kind}, window {window}: choose {', '.join(_KINDS)}, and an odd window from 3"
        )
    near = window // 2
    padded = np.pad(image, ((0, 0), (near, near), (near, near)), mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, (window, window), axis=(1, 2)).astype(np.float32)
    if kind == "median":
        smooth = np.median(around, axis=(3, 4))
    else:
        apart = (around - image[..., None, None]) / _SPREAD
        weights = np.exp(-0.5 * np.square(apart)) if kind == "bilateral" else np.ones_like(around)
        smooth = (weights * around).sum((3, 4)) / weights.sum((3, 4))
    return np.rint(smooth).astype(np.uint8)
