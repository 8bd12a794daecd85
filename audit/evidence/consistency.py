"""Whether an engine's answer to an image depends on anything but the image: the run, the batch size, its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.logits import predictions
from skinaudit.artifacts.typed_json import Count
from skinaudit.engines.engine import Engine
from skinaudit.errors import EngineError

SIZES = (1, 7)
"""Batch sizes beside the audit's own: the smallest, and one that fits no kernel's block."""
_IMAGES = 35  # five batches of 7, and as many calls with single images


@dataclass(frozen=True)
class Consistency:
    """The same images in batches of 1, of 7 and of the audit's own size, each twice, once in reverse order, and once
    over and over in a batch of more than twice the audit's size.

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
    sizes = (*SIZES, batch_size)
    runs, repeats = [], True
    for size in sizes:
        logits, repeated = (
            np.concatenate([engine.logits(batch[start : start + size]) for start in range(0, len(batch), size)])
            for _ in range(2)
        )
        repeats = repeats and logits.tobytes() == repeated.tobytes()
        runs.append(logits)
    runs.append(engine.logits(np.ascontiguousarray(batch[::-1]))[::-1])
    rows = np.arange(2 * batch_size + 1) % len(batch)
    crowd = engine.logits(batch[rows])
    runs += [crowd[start : start + len(batch)] for start in range(0, len(rows) - len(batch) + 1, len(batch))]
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
