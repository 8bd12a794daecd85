"""Emulate half precision if the device computes a half precision file in single precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.logits import Indices, predictions
from skinaudit.artifacts.manifest import engine_file
from skinaudit.audit.evidence.answers import AnsweredSet
from skinaudit.audit.evidence.inputs import Inputs
from skinaudit.audit.evidence.odd_frames import Frames, odd_frames, unanswered_frames
from skinaudit.engines.engine import Engine, EngineDescription
from skinaudit.engines.half import HALVES
from skinaudit.engines.open import open_emulated
from skinaudit.errors import EngineError, MissingDependencyError

_OVERFLOWN = -1  # in place of a class
_AT_ONCE = 8
"""Images of a batch. The emulation writes all numbers between its layers twice; those of 8 images fit into the cache."""


@dataclass(frozen=True)
class HalfPrecision:
    """Every image of each set on the opened engine and on an emulation that rounds between layers.

    unseen: why no emulation ran; then nothing else is known. overflows: images for which the emulation gives NaN or
    infinity. flips: other images for which it predicts a different class. odd: frames that no camera takes (see
    Consistency) for which it gives NaN or infinity.
    """

    precision: str
    images: int = 0
    overflows: int = 0
    flips: int = 0
    odd: tuple[str, ...] = ()
    unseen: str | None = None


def emulate_half_precision(
    path: Path,
    inputs: Inputs,
    description: EngineDescription,
    answered: Sequence[AnsweredSet],
    *,
    emulated: bool,
    batch_size: int,
    threads: int | None,
    seed: int,
) -> HalfPrecision | None:
    """Compare a half precision file with its emulation if the device computes it in another precision; else None.

    answered: by the engine. seed: of the odd frames. Memory does not grow with the images.
    """
    manifest, file_layers, executed = inputs.manifest, description.found, description.executed
    if (
        emulated
        or manifest is None
        or manifest.asked not in HALVES
        or not file_layers.get(manifest.asked)
        or executed is None
    ):
        return None
    if 2 * executed.get(manifest.asked, 0) > sum(executed.values()):
        return None
    if not (path.parent / manifest.graph.file).is_file():
        return HalfPrecision(manifest.asked, unseen=f"{manifest.graph.file}, by which to emulate it, is missing")
    try:
        halved = open_emulated(
            engine_file(path, manifest, manifest.graph), precision=manifest.asked, threads=threads, own=manifest.contract
        )
    except MissingDependencyError as error:
        return HalfPrecision(manifest.asked, unseen=str(error))
    frames = odd_frames(inputs.clean, np.random.default_rng(seed))
    batch_size = batch_size if halved.description.batches else min(_AT_ONCE, batch_size)
    return compare_with_emulation(manifest.asked, answered, halved, frames, batch_size=batch_size)


def compare_with_emulation(
    precision: str, answered: Sequence[AnsweredSet], emulated: Engine, frames: Frames, *, batch_size: int
) -> HalfPrecision:
    """Compare the answers to every image with those of `emulated`, the engine's graph with rounding to half precision."""
    images = overflows = flips = 0
    for stored in answered:
        done = 0
        for batch in stored.images.batches(batch_size):
            named, expected = _predicted(emulated, batch), stored.answers[done : done + len(batch)]
            overflows += int((named == _OVERFLOWN).sum())
            flips += int(((named != expected) & (named != _OVERFLOWN)).sum())
            done += len(batch)
        images += done
    return HalfPrecision(precision, images, overflows, flips, unanswered_frames(emulated, frames))


def _predicted(engine: Engine, images: NDArray[np.uint8]) -> Indices:
    """The class of each image, int64 (N,). _OVERFLOWN for NaN or infinity: a batch with such an image is split in halves."""
    try:
        logits = engine.logits(images)
    except EngineError:  # an engine answers with finite logits, or raises this error
        if len(images) == 1:
            return np.array([_OVERFLOWN], np.int64)
        middle = len(images) // 2
        return np.concatenate([_predicted(engine, images[:middle]), _predicted(engine, images[middle:])])
    finite = np.isfinite(logits).all(axis=1)
    named = np.full(len(logits), _OVERFLOWN, np.int64)
    named[finite] = predictions(logits[finite])
    return named
