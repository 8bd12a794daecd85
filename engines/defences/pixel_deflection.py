"""Replace pixels by random neighbours, then denoise with wavelets (Prakash et al. 2018, https://arxiv.org/abs/1801.08926)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.errors import InvalidInputError

SETTINGS: dict[str, Any] = {"pixels": 200, "window": 10, "levels": 2}
RANDOM = True
_NORMAL_MEDIAN = 0.6745
"""Median of the absolute value of a standard normal variable. The noise level is estimated with it from the finest details.
"""


def defend(
    image: NDArray[np.uint8], *, rng: np.random.Generator, examples: NDArray[np.uint8] | None, pixels: int = 200,
    window: int = 10, levels: int = 2,
) -> NDArray[np.uint8]:  # fmt: skip
    """Replace `pixels` random pixels of the image, uint8 (3, H, W), each by a random pixel at most `window` away.

    Then denoise with Haar wavelets and BayesShrink on `levels` scales; 0 for none. The paper also avoids pixels at which the
    network looks most. This is left out, because an attacker who has the gradient knows that map too.
    """
    if min(pixels, levels) < 0 or window < 1:
        raise InvalidInputError(
            f"defence pixel-deflection: pixels {pixels}, window {window}, levels {levels}: give a window from 1, and no "
            "negative number"
        )
    height, width = image.shape[1:]
    rows, columns = rng.integers(height, size=pixels), rng.integers(width, size=pixels)
    shifts = rng.integers(-window, window + 1, size=(2, pixels))
    deflected = image.copy()
    from_rows, from_columns = np.clip(rows + shifts[0], 0, height - 1), np.clip(columns + shifts[1], 0, width - 1)
    deflected[:, rows, columns] = image[:, from_rows, from_columns]
    smooth = _shrunk(deflected.astype(np.float32), levels)
    return np.clip(np.rint(smooth), 0, 255).astype(np.uint8)


def _shrunk(planes: NDArray[np.float32], levels: int) -> NDArray[np.float32]:
    """Soft-threshold the Haar details of each plane (.., H, W) with BayesShrink; stop at a scale with odd sides."""
    if levels == 0 or planes.shape[-2] % 2 or planes.shape[-1] % 2:
        return planes
    a, b = planes[..., ::2, ::2], planes[..., ::2, 1::2]
    c, d = planes[..., 1::2, ::2], planes[..., 1::2, 1::2]
    mean = _shrunk(((a + b + c + d) / 2).astype(np.float32), levels - 1)
    details = np.stack([(a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2])
    noise = np.median(np.abs(details[2]), axis=(-2, -1), keepdims=True) / _NORMAL_MEDIAN
    signal = np.sqrt(np.maximum(np.square(details).mean((-2, -1), keepdims=True) - np.square(noise), 1e-6))
    across, down, both = np.sign(details) * np.maximum(np.abs(details) - np.square(noise) / signal, 0)
    whole = np.empty_like(planes)
    whole[..., ::2, ::2], whole[..., ::2, 1::2] = (mean + across + down + both) / 2, (mean - across + down - both) / 2
    whole[..., 1::2, ::2], whole[..., 1::2, 1::2] = (mean + across - down - both) / 2, (mean - across - down + both) / 2
    return whole
