"""The denoising operations of feature denoising (Xie et al. 2019, https://arxiv.org/abs/1812.03411), applied to the image.

The paper puts them between the layers of a network and trains the network with them. In front of a trained model they can
only clean the input.
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
"""Standard deviation of the bilateral mean's weights over differences of value, in 8-bit steps."""


_WIDEST = 15
"""Time and memory grow with the square of the window."""


def defend(
    image: NDArray[np.uint8], *, rng: np.random.Generator, examples: NDArray[np.uint8] | None, kind: str = "median",
    window: int = 3,
) -> NDArray[np.uint8]:  # fmt: skip
    """Replace each value of uint8 (3, H, W) by the mean, median or bilateral mean of `window` x `window` neighbours."""
    if kind not in _KINDS or not 3 <= window <= _WIDEST or window % 2 == 0:
        raise InvalidInputError(
            f"defence denoise: kind {kind}, window {window}: choose {', '.join(_KINDS)}, and "
            f"an odd window from 3 to {_WIDEST}"
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
