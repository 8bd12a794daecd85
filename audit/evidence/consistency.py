"""Whether an engine's answer to an image depends on anything but the image: the run, the batch size, its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.logits import predictions
from skinaudit.artifacts.typed_json import Count
from skinaudit.engines.engine import BatchRange, Engine
from skinaudit.errors import EngineError

SIZES = (1, 7)
"""Batch sizes beside the audit's own: the smallest, and one that fits no kernel's block."""
_IMAGES = 35  # five batches of 7, and as many calls with single images


@dataclass(frozen=True)
class Consistency:
    """The same images in batches of several sizes, each twice, and once in reverse order.

    sizes: of the batches that the engine computed: 1, 7, the audit's own, more than twice that, and the smallest, usual and
    largest that the engine takes, as far as it takes them. Larger ones than there are images hold each image several times.
    repeats: whether each batch gave the same bits both times. identical: whether batch size and order change no bit either.
    largest: difference of any logit between two of the ways, relative to the range of all. flips: images that are not
    answered alike in all of them. odd: frames that no camera takes and a service may get (black, white, grey, noise, a
    checkerboard) to which the engine answers NaN or infinity.
    """

    images: Count
    sizes: tuple[Count, ...]
    repeats: bool
    identical: bool
    largest: float
    flips: Count
    odd: tuple[str, ...]


def check_consistency(engine: Engine, images: AdversarialSet, *, batch_size: int) -> Consistency:
    """Run the first images of a set in every way that Consistency names. Raises EngineError on NaN or infinity."""
    batch = next(images.batches(_IMAGES))
    sizes = batch_sizes(engine.description.batches, batch_size=batch_size)
    runs, repeats = [], True
    for size in sizes:
        first, second = (_in_batches(engine, batch, size) for _ in range(2))
        repeats = repeats and all(one.tobytes() == other.tobytes() for one, other in zip(first, second, strict=True))
        runs += first
    whole = next((size for size in sizes if size >= len(batch)), sizes[-1])  # all images in one batch, if it takes so many
    backwards = _in_batches(engine, np.ascontiguousarray(batch[::-1]), whole)
    runs += [logits[::-1] for logits in backwards]
    answers = np.stack([predictions(run) for run in runs])
    spread = np.stack(runs).astype(np.float64)
    width = float(spread.max() - spread.min()) or 1.0
    return Consistency(
        images=len(batch),
        sizes=sizes,
        repeats=repeats,
        identical=all(np.array_equal(run, runs[0]) for run in runs),
        largest=float((spread.max(axis=0) - spread.min(axis=0)).max()) / width,
        flips=int((answers != answers[0]).any(axis=0).sum()),
        odd=unanswered_frames(engine, batch.shape[2]),
    )


def batch_sizes(ranges: Sequence[BatchRange], *, batch_size: int) -> tuple[int, ...]:
    """The batches to try, in ascending order, of an engine that takes these ranges (none: any)."""
    wanted = {*SIZES, batch_size, 2 * batch_size + 1}
    if not ranges:
        return tuple(sorted(wanted))
    named = {size for limits in ranges for size in (limits.smallest, limits.usual, limits.largest)}
    taken = {size for size in wanted if any(limits.smallest <= size <= limits.largest for limits in ranges)}
    return tuple(sorted(named | taken))


def _in_batches(engine: Engine, images: NDArray[np.uint8], size: int) -> list[NDArray[np.float32]]:
    """The logits of all images in batches of `size`, the last of them filled up with images from the start; one array for
    each time that all images came."""
    count = len(images)
    batches = max(1, -(-count // size))
    rows = np.arange(batches * size) % count
    logits = np.concatenate([engine.logits(images[rows[at : at + size]]) for at in range(0, len(rows), size)])
    return [logits[at : at + count] for at in range(0, len(rows) - count + 1, count)]


def unanswered_frames(engine: Engine, size: int) -> tuple[str, ...]:
    """Names of the odd frames, of `size` times `size` pixels, to which the engine answers NaN or infinity."""
    board = 255 * (np.indices((3, size, size)).sum(axis=0) % 2)
    frames = {
        "black": np.zeros((3, size, size)),
        "white": np.full((3, size, size), 255),
        "grey": np.full((3, size, size), 128),
        "noise": np.random.default_rng(0).integers(0, 256, (3, size, size)),
        "checkerboard": board,
    }
    return tuple(name for name, frame in frames.items() if not _finite(engine, frame.astype(np.uint8)[None]))


def _finite(engine: Engine, images: NDArray[np.uint8]) -> bool:
    try:
        return bool(np.isfinite(engine.logits(images)).all())
    except EngineError:  # an engine answers with finite logits or not at all
        return False
