"""The record of a run's pictures, written when its training ends: digests, and statistics of the training pictures.

With it, an audit can check whether other images are really different ones, and whether they look like the training pictures.
The file contains no picture. It has digests of 8 bytes, 16 x 16 cells of detail that identify near-copies
(skinaudit.artifacts.likeness), and a few robust figures of some training pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from skinaudit.artifacts.files import Progress, atomic_path
from skinaudit.artifacts.likeness import CELLS, Floats, cells_of, copied_from, from_bytes, reduced_luminance, to_bytes
from skinaudit.artifacts.tensors import read_tensors
from skinaudit.errors import InvalidInputError

PARTS = ("train", "val", "test")
STATISTICS = ("red", "green", "blue", "contrast", "saturation", "sharpness", "vignette")
"""Measurements of a picture.

Mean of each colour, standard deviation of luminance, mean of the largest minus the smallest colour, mean difference of
neighbours over the contrast (sharpness), and how much darker the corners are than the centre; all but sharpness in 8-bit
steps.
"""
_MEASURED = 2_000
"""Number of training pictures with statistics."""
_WIDTH = 8
_AGAIN = "restore it or train again"
_TENSORS = {"pixels": 2, "names": 2, "part": 1, "statistics": 2}
_LATER = {"cells": 2, "frames": 2}
"""Tensors that files of the first version lack; frames are also missing if no size is known."""
FRAME = ("frame width", "frame height")
"""Values in `frames`: pixels of the whole frame before it is resized."""

Digests = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Pictures:
    """The record of a run's pictures.

    pixels, names: uint64 (N,), the first 8 bytes of the digests of each picture's pixels and name. part: uint8 (N,), an
    index into PARTS. statistics: float32 (M, len(STATISTICS)) of some training pictures, in no order. frames: int32 (M,
    len(FRAME)) of the same pictures. cells: int8 (N, CELLS), which identify near-copies. frames and cells are None if the
    record is of an earlier version, frames also if the size is not known.
    """

    pixels: Digests
    names: Digests
    part: NDArray[np.uint8]
    statistics: NDArray[np.float32]
    cells: NDArray[np.int8] | None = None
    frames: NDArray[np.int32] | None = None

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


def near_copies(
    images: NDArray[np.uint8],
    pictures: Pictures | None,
    tested: Iterable[NDArray[np.uint8]],
    *,
    progress: Progress | None = None,
) -> NDArray[np.int8]:
    """For each image, the part of a run in which it has a near-copy: an index into PARTS, -1 for none; int8 (N,).

    images: uint8 (N, 3, H, W). pictures: of the run. If they are None or from an earlier version, only the run's test
    pictures are compared: `tested`, batches of uint8 (B, 3, H, W) of the same size. progress: called with the number of
    images done and in total.
    """
    if pictures is not None and pictures.cells is not None:
        recorded, parts = from_bytes(pictures.cells), pictures.part
    else:
        recorded = np.concatenate([np.zeros((0, CELLS), np.float32), *(_cells(batch) for batch in tested)])
        parts = np.full(len(recorded), PARTS.index("test"), np.uint8)
    nearest = copied_from(_luminance(images), recorded, progress=progress)
    return np.where(nearest < 0, -1, parts.astype(np.int8)[nearest] if len(parts) else -1).astype(np.int8)


def write_pictures(
    path: Path,
    images: NDArray[np.uint8],
    names: Sequence[str],
    parts: Sequence[NDArray[np.int64]],
    *,
    seed: int,
    frames: NDArray[np.int32] | None = None,
) -> None:
    """Write the record of a data set, atomically.

    images: uint8 (N, 3, H, W). parts: indices of each of PARTS. frames: int32 (N, len(FRAME)), None if unknown.
    """
    order = np.concatenate(parts)
    train = parts[0]
    chosen = np.random.default_rng(seed).permutation(train)[:_MEASURED]
    arrays: dict[str, NDArray[Any]] = {
        "pixels": pixel_digests(images[index] for index in order).view(np.uint8).reshape(-1, _WIDTH),
        "names": name_digests(names[index] for index in order).view(np.uint8).reshape(-1, _WIDTH),
        "part": np.repeat(np.arange(len(parts), dtype=np.uint8), [len(part) for part in parts]),
        "statistics": measure(images[np.sort(chosen)]),
        "cells": to_bytes(np.concatenate([_cells(images[rows]) for rows in np.array_split(order, len(order) // 256 + 1)])),
    }
    if frames is not None:
        arrays["frames"] = np.ascontiguousarray(frames[np.sort(chosen)])
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, metadata={"statistics": " ".join(STATISTICS)})


def read_pictures(path: Path) -> Pictures:
    """Read a file written by `write_pictures`; raises InvalidInputError if it is damaged."""
    arrays, metadata = read_tensors(path, kind="record of a run's pictures", again=_AGAIN)
    axes_of = {**_TENSORS, **{name: axes for name, axes in _LATER.items() if name in arrays}}
    sound = all(name in arrays and arrays[name].ndim == axes for name, axes in axes_of.items())
    sound = sound and metadata.get("statistics") == " ".join(STATISTICS)
    sound = sound and arrays["part"].dtype == np.uint8 and arrays["statistics"].dtype == np.float32
    sound = sound and arrays["statistics"].shape[1] == len(STATISTICS)
    sound = sound and all(
        arrays[name].dtype == np.uint8 and arrays[name].shape == (len(arrays["part"]), _WIDTH)
        for name in ("pixels", "names")
    )
    cells, frames = arrays.get("cells"), arrays.get("frames")
    sound = sound and (cells is None or (cells.dtype == np.int8 and cells.shape == (len(arrays["part"]), CELLS)))
    sound = sound and (frames is None or _are_frames(frames, count=len(arrays["statistics"])))
    if not sound or not np.isfinite(arrays["statistics"]).all() or (arrays["part"] >= len(PARTS)).any():
        raise InvalidInputError(f"{path}: not a record of pictures that this version can read; {_AGAIN}")
    pixels, names = (np.ascontiguousarray(arrays[name]).view(np.uint64).reshape(-1) for name in ("pixels", "names"))
    return Pictures(pixels, names, arrays["part"], arrays["statistics"], cells, frames)


def _are_frames(frames: NDArray[Any], *, count: int) -> bool:
    return frames.dtype == np.int32 and frames.shape == (count, len(FRAME)) and bool((frames > 0).all())


def _luminance(images: NDArray[np.uint8]) -> Floats:
    """Luminance batch by batch, so that only one batch is in memory at full size in floating point."""
    parts = [reduced_luminance(images[start : start + 256]) for start in range(0, len(images), 256)]
    return np.concatenate(parts)


def _cells(images: NDArray[np.uint8]) -> Floats:
    return cells_of(reduced_luminance(images))


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
