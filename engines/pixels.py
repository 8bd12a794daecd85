"""Changes of pixels beyond scale, mean and std: centre crop, resizing, grey, and standardisation of each image."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def middle(images: NDArray[Any], height: float, width: float) -> Floats:
    """Crop the centre of images (N, C, S, S) to these shares of their sides and enlarge it to S x S: bilinear, float32."""
    side = images.shape[2]
    rows = np.einsum("ts,ncsw->nctw", _enlarging(side, height), images.astype(np.float32), optimize=True)
    return np.asarray(np.einsum("ts,nchs->ncht", _enlarging(side, width), rows, optimize=True), np.float32)


def resized(images: NDArray[Any], height: int, width: int) -> Floats:
    """Resize images (N, C, S, S) to float32 (N, C, height, width): bilinear, antialiased if a side becomes shorter."""
    side = images.shape[2]
    rows = np.einsum("ts,ncsw->nctw", _resizing(side, height), images.astype(np.float32), optimize=True)
    return np.asarray(np.einsum("ts,nchs->ncht", _resizing(side, width), rows, optimize=True), np.float32)


def grey(images: NDArray[Any]) -> Floats:
    """Luminance of RGB images (N, 3, H, W) by ITU-R BT.601, float32 (N, 1, H, W)."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(np.einsum("c,nchw->nhw", weights, images.astype(np.float32))[:, np.newaxis], np.float32)


def standardise(pixels: Floats) -> None:
    """Subtract each image's mean and divide by its standard deviation, at least 1 / sqrt(number of values), in place.

    The same as tf.image.per_image_standardization.
    """
    sides = tuple(range(1, pixels.ndim))
    pixels -= pixels.mean(axis=sides, keepdims=True)
    least = np.float32(1 / np.sqrt(pixels[0].size))
    pixels /= np.maximum(pixels.std(axis=sides, keepdims=True), least)


@lru_cache(maxsize=8)
def _enlarging(side: int, share: float) -> Floats:
    """float32 (side, side): weight of each input pixel in each pixel of the enlarged crop; rows sum to 1."""
    kept = share * side
    places = (np.arange(side) + 0.5) * kept / side - 0.5 + (side - kept) / 2
    first = np.clip(np.floor(places).astype(int), 0, side - 1)
    second = np.minimum(first + 1, side - 1)
    part = np.clip(places - first, 0, 1)
    weights = np.zeros((side, side))
    np.add.at(weights, (np.arange(side), first), 1 - part)
    np.add.at(weights, (np.arange(side), second), part)
    return weights.astype(np.float32)


@lru_cache(maxsize=8)
def _resizing(side: int, target: int) -> Floats:
    """float32 (target, side): weight of each input pixel in each pixel of the resized side; rows sum to 1."""
    ratio = side / target
    centres = (np.arange(target) + 0.5) * ratio - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(side) - centres[:, np.newaxis]) / max(ratio, 1))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
