"""Whether an engine's answer to an image depends on anything but the image: the run, the batch size, its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.logits import predictions
from skinaudit.artifacts.typed_json import Count
from skinaudit.audit.evidence.answers import AnsweredSet
from skinaudit.engines.engine import BatchRange, Engine
from skinaudit.errors import EngineError

SIZES = (1, 7)
"""Batch sizes beside the audit's own: the smallest, and one that fits no kernel's block."""
_IMAGES = 35  # five batches of 7, and as many calls with single images

_ROUNDING = 1e-3
"""Difference of logits, relative to the range of all, up to which other kernels for another batch explain it in fp32."""


@dataclass(frozen=True)
class Consistency:
    """The same images in batches of several sizes, each twice in order, and once more in another order.

    images: that many of the clean set, from all classes. sizes: of the batches that the engine computed: 1, 7, the audit's
    own, more than twice that; of an engine that takes certain batches alone its smallest, usual and largest ones, and the
    powers of two between with their neighbours. Larger ones than there are images hold each image several times; every row
    of every batch counts. repeats: whether the same batch gave the same bits both times. identical: whether batch size and
    order change no bit either. largest: difference of any logit between two of the ways, relative to the range of all.
    flips: images that are not answered alike in all of them. whole: images of all sets that were answered once more, in the
    largest batch that the engine takes, if that is more than the audit's own, or singly, where logits move by more than
    rounding explains; they count in `identical`, `largest`, `flips`.
    odd: frames that no camera takes and a service may get (black, white, grey, noise, a checkerboard) to which the engine
    answers NaN or infinity.
    """

    images: Count
    sizes: tuple[Count, ...]
    repeats: bool
    identical: bool
    largest: float
    flips: Count
    odd: tuple[str, ...]
    whole: Count = 0


def check_consistency(engine: Engine, images: AdversarialSet, *, batch_size: int) -> Consistency:
    """Run images of a set in every way that Consistency names, but for `whole`. Raises EngineError on NaN or infinity."""
    batch = np.stack([images.image(index) for index in spread_over_classes(images.labels, count=_IMAGES)])
    sizes = batch_sizes(engine.description.batches, batch_size=batch_size)
    named = named_sizes(engine.description.batches, batch_size=batch_size)
    expected = low = high = None
    repeats = identical = True
    flipped = np.zeros(len(batch), dtype=bool)
    for size in sizes:
        for shift in (0, len(batch) // 2 + 1):
            rows, logits = _in_batches(engine, batch, size, shift=shift)
            if shift == 0 and size in named:
                repeats &= logits.tobytes() == _in_batches(engine, batch, size, shift=shift)[1].tobytes()
            if expected is None or low is None or high is None:
                expected = np.array(logits[: len(batch)])
                low, high = expected.copy(), expected.copy()
            identical &= np.array_equal(logits, expected[rows])
            np.minimum.at(low, rows, logits)
            np.maximum.at(high, rows, logits)
            flipped[rows[predictions(logits) != predictions(expected)[rows]]] = True
    assert low is not None
    assert high is not None
    return Consistency(
        images=len(batch),
        sizes=sizes,
        repeats=repeats,
        identical=identical,
        largest=float((high.astype(np.float64) - low).max()) / _width(low, high),
        flips=int(flipped.sum()),
        odd=unanswered_frames(engine, batch.shape[2]),
    )


def answer_once_more(
    consistency: Consistency, engine: Engine, answered: Sequence[AnsweredSet], *, batch_size: int
) -> Consistency:
    """Let the engine answer whole sets in batches of another size, and compare with `answered`, by `batch_size`.

    That is the largest batch that it takes, if that is larger than `batch_size`; of an engine that takes any, single
    images, if the few images of check_consistency moved by more than rounding explains. Raises EngineError.
    """
    ranges = engine.description.batches
    size = max((limits.largest for limits in ranges), default=SIZES[0])
    if size <= batch_size if ranges else consistency.largest <= _ROUNDING:
        return consistency
    for stored in answered:
        logits = np.concatenate([engine.logits(batch) for batch in stored.images.batches(size)])
        low, high = np.minimum(logits, stored.logits), np.maximum(logits, stored.logits)
        moved = float((high.astype(np.float64) - low).max()) / _width(low, high)
        consistency = replace(
            consistency,
            identical=consistency.identical and np.array_equal(logits, stored.logits),
            largest=max(consistency.largest, moved),
            flips=consistency.flips + int((predictions(logits) != stored.answers).sum()),
            whole=consistency.whole + len(logits),
        )
    return consistency


def spread_over_classes(labels: NDArray[np.int64], *, count: int) -> list[int]:
    """Positions of at most `count` images, each class in turn, so that rare ones are there, in ascending order."""
    turn = np.zeros(len(labels), dtype=np.intp)
    for label in np.unique(labels):
        turn[labels == label] = np.arange(int((labels == label).sum()))
    return sorted(np.argsort(turn, kind="stable")[:count].tolist())


def named_sizes(ranges: Sequence[BatchRange], *, batch_size: int) -> frozenset[int]:
    """The batches that are tried twice to the bit."""
    wanted = {*SIZES, batch_size, 2 * batch_size + 1}
    if not ranges:
        return frozenset(wanted)
    taken = {size for size in wanted if _takes(ranges, size)}
    return frozenset(taken | {size for limits in ranges for size in (limits.smallest, limits.usual, limits.largest)})


def batch_sizes(ranges: Sequence[BatchRange], *, batch_size: int) -> tuple[int, ...]:
    """The batches to try, in ascending order, of an engine that takes these ranges (none: any)."""
    tried = set(named_sizes(ranges, batch_size=batch_size))
    power = 2
    while ranges and power <= max(limits.largest for limits in ranges):
        tried |= {size for size in (power - 1, power, power + 1) if _takes(ranges, size)}
        power *= 2
    return tuple(sorted(tried))


def _takes(ranges: Sequence[BatchRange], size: int) -> bool:
    return any(limits.smallest <= size <= limits.largest for limits in ranges)


def _in_batches(
    engine: Engine, images: NDArray[np.uint8], size: int, *, shift: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The logits of all images in batches of `size`, from image `shift` on and round, the last batch filled up with further
    ones; and which image each row is."""
    count = len(images)
    rows = (np.arange(max(1, -(-count // size)) * size) + shift) % count
    return rows, np.concatenate([engine.logits(images[rows[at : at + size]]) for at in range(0, len(rows), size)])


def _width(low: NDArray[np.float32], high: NDArray[np.float32]) -> float:
    return float(high.astype(np.float64).max() - low.astype(np.float64).min()) or 1.0


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
