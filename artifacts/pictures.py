"""The pictures of a run, recorded when its training ends: which they were, and how the training pictures look.

With it anybody can tell whether other images are really other images, and whether they look like those of training. The
file holds no picture: digests of 8 bytes, and a few robust figures of some training pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from skinaudit.artifacts.files import atomic_path
from skinaudit.artifacts.outside import check_regular
from skinaudit.errors import InvalidInputError

PARTS = ("train", "val", "test")
STATISTICS = ("red", "green", "blue", "contrast", "saturation", "sharpness", "vignette")
"""What is measured of a picture: mean of each colour, standard deviation of luminance, mean of the largest less the smallest
colour, mean difference of neighbours over the contrast, and how much darker the corners are than the middle; all but
sharpness in steps of 8 bit."""
_MEASURED = 2_000
"""Training pictures of which statistics are kept."""
_WIDTH = 8
_AGAIN = "restore it or train again"
_TENSORS = {"pixels": 2, "names": 2, "part": 1, "statistics": 2}

Digests = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Pictures:
    """pixels, names: uint64 (N,), the first 8 bytes of the digests of each picture's pixels and name. part: uint8 (N,), an
    index into PARTS. statistics: float32 (M, len(STATISTICS)) of some training pictures, in no order."""

    pixels: Digests
    names: Digests
    part: NDArray[np.uint8]
    statistics: NDArray[np.float32]

    def those_of(self, *parts: str) -> Digests:
        """The digests of the pixels of these parts."""
        return np.asarray(self.pixels[np.isin(self.part, [PARTS.index(part) for part in parts])])


def pixel_digests(images: Iterable[NDArray[np.uint8]]) -> Digests:
    """The first 8 bytes of the sha256 of each image's pixels, uint64 (N,). images: uint8 (3, H, W) each."""
    return _as_numbers([hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images])


def name_digests(names: Iterable[str]) -> Digests:
    """The first 8 bytes of the sha256 of each name, uint64 (N,)."""
    return _as_numbers([hashlib.sha256(name.encode()).digest() for name in names])


def measure(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """STATISTICS of images, uint8 (N, 3, H, W) -> float32 (N, len(STATISTICS))."""
    rows = [_measure(part) for part in np.array_split(images, max(1, len(images) // 64)) if len(part)]
    return np.concatenate(rows) if rows else np.empty((0, len(STATISTICS)), np.float32)


def write_pictures(
    path: Path, images: NDArray[np.uint8], names: Sequence[str], parts: Sequence[NDArray[np.int64]], *, seed: int
) -> None:
    """Write the record of a data set, atomically. images: uint8 (N, 3, H, W); parts: indices of each of PARTS."""
    order = np.concatenate(parts)
    train = parts[0]
    chosen = np.random.default_rng(seed).permutation(train)[:_MEASURED]
    arrays: dict[str, NDArray[Any]] = {
        "pixels": pixel_digests(images[index] for index in order).view(np.uint8).reshape(-1, _WIDTH),
        "names": name_digests(names[index] for index in order).view(np.uint8).reshape(-1, _WIDTH),
        "part": np.repeat(np.arange(len(parts), dtype=np.uint8), [len(part) for part in parts]),
        "statistics": measure(images[np.sort(chosen)]),
    }
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, metadata={"statistics": " ".join(STATISTICS)})


def read_pictures(path: Path) -> Pictures:
    """Read what `write_pictures` wrote; raises InvalidInputError for a damaged file."""
    check_regular(path, what="record of a run's pictures")
    try:
        with safe_open(path, framework="numpy") as file:
            known = (file.metadata() or {}).get("statistics")
            arrays = {name: file.get_tensor(name) for name in _TENSORS}
    except (SafetensorError, OSError) as error:
        raise InvalidInputError(f"{path}: truncated or no record of pictures ({error}); {_AGAIN}") from error
    sound = all(arrays[name].ndim == axes for name, axes in _TENSORS.items())
    sound = sound and known == " ".join(STATISTICS) and arrays["statistics"].shape[1] == len(STATISTICS)
    digests = (arrays["pixels"], arrays["names"])
    sound = sound and all(one.dtype == np.uint8 and one.shape == (len(arrays["part"]), _WIDTH) for one in digests)
    if not sound or not np.isfinite(arrays["statistics"]).all() or (arrays["part"] >= len(PARTS)).any():
        raise InvalidInputError(f"{path}: no record of pictures as this version writes it; {_AGAIN}")
    pixels, names = (np.ascontiguousarray(one).view(np.uint64).reshape(-1) for one in digests)
    return Pictures(pixels, names, arrays["part"], arrays["statistics"])


def _as_numbers(digests: Sequence[bytes]) -> Digests:
    return np.frombuffer(b"".join(digest[:_WIDTH] for digest in digests), np.uint64)


def _measure(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels = images.astype(np.float32)
    luminance = pixels.mean(axis=1)
    contrast = luminance.std(axis=(1, 2))
    steps = np.abs(np.diff(luminance, axis=1)).mean(axis=(1, 2)) + np.abs(np.diff(luminance, axis=2)).mean(axis=(1, 2))
    edge = max(1, luminance.shape[1] // 8)
    corners = [luminance[:, rows, columns].mean(axis=(1, 2)) for rows in _ends(edge) for columns in _ends(edge)]
    middle = luminance[:, 3 * edge : -3 * edge or None, 3 * edge : -3 * edge or None]
    middle_mean = (middle if middle.size else luminance).mean(axis=(1, 2))
    saturation = (pixels.max(axis=1) - pixels.min(axis=1)).mean(axis=(1, 2))
    colours = pixels.mean(axis=(2, 3))
    figures = (contrast, saturation, steps / np.maximum(contrast, 1), middle_mean - np.mean(corners, axis=0))
    return np.column_stack([colours, *figures]).astype(np.float32)


def _ends(edge: int) -> tuple[slice, slice]:
    return slice(None, edge), slice(-edge, None)
