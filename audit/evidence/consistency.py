"""Check whether the output for an image depends on anything else: the run, the batch size, or the other images of the
batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.logits import predictions
from skinaudit.artifacts.typed_json import Count
from skinaudit.audit.evidence.answers import AnsweredSet
from skinaudit.audit.evidence.odd_frames import odd_frames, unanswered_frames
from skinaudit.engines.engine import BatchRange, Engine

SIZES = (1, 7)
"""Batch sizes besides the audit's own: the smallest, and one that is no multiple of a kernel's block."""
_LADDER = (2, 3, 4, 5, 6, 8, 15, 16, 17, 31, 32, 33, 63, 65, 128, 256)
"""Batches that are run once if the engine accepts any size, up to `_LARGEST` times the audit's own."""
_LARGEST, _SMALL_SIDE = 4, 128  # larger images would need too much memory in such a batch
_DRAWN = 3  # batch sizes that nobody can know before the audit
_IMAGES = 35  # five batches of 7, and as many calls with single images

FEW_FLIPS = 2
"""Number of images whose class may always change with the batch: rounding decides near ties."""

_ROUNDING = 1e-3
"""Largest difference of logits, relative to the range of all, that other kernels for another batch explain in fp32."""


@dataclass(frozen=True)
class Consistency:
    """The same images in batches of several sizes, each twice in order, and once more in another order.

    images: number of images, from all classes of the clean set. sizes: the batch sizes that the engine computed: 1, 7,
    the audit's own, and more than twice that. An engine that takes certain batches only gets its smallest, usual and
    largest batch, and the powers of two between them with their neighbours. An engine that takes any batch also gets one
    batch each of many more sizes, some of which the audit's seed draws. A batch with more rows than there are images
    holds each image several times; every row of every batch counts.
    repeats: whether the same batch gave the same bits both times. identical: whether every batch size and order also gave
    the same bits. largest: the largest difference of a logit between two batches, relative to the range of all logits.
    flips: images whose predicted class is not the same in all batches. whole: images of all sets that were answered a
    second time. That happens in the largest batch that the engine takes, if it is larger than the audit's own. It happens
    one image at a time if logits move by more than rounding explains and almost no class changes. These images count in
    `identical`, `largest` and `flips`. odd: frames that no camera takes but a service may get (see
    skinaudit.audit.evidence.odd_frames), for which the engine gives NaN or infinity. later: images of all sets that were
    answered again at the end of the audit, in the same batches. later_changed: those whose logits had changed by then.
    later_largest, later_flips: like `largest` and `flips`, for these images.
    """

    images: Count
    sizes: tuple[Count, ...]
    repeats: bool
    identical: bool
    largest: float
    flips: Count
    odd: tuple[str, ...]
    whole: Count = 0
    later: Count = 0
    later_changed: Count = 0
    later_largest: float = 0.0
    later_flips: Count = 0


def check_consistency(engine: Engine, images: AdversarialSet, *, batch_size: int, seed: int) -> Consistency:
    """Run images of a set in every way that Consistency names, except `whole` and `later`.

    seed: of the sizes and frames that are drawn. Raises EngineError on NaN or infinity.
    """
    generator = np.random.default_rng(seed)
    batch = np.stack([images.image(index) for index in spread_over_classes(images.labels, count=_IMAGES)])
    ranges, side = engine.description.batches, batch.shape[2]
    named = named_sizes(ranges, batch_size=batch_size)
    further = further_sizes(ranges, batch_size=batch_size, side=side, generator=generator)
    expected = low = high = None
    repeats = identical = True
    flipped = np.zeros(len(batch), dtype=bool)
    for size in sorted(named | further):
        for shift in (0, len(batch) // 2 + 1) if ranges or size in named else (int(generator.integers(len(batch))),):
            rows, logits = _in_batches(engine, batch, size, shift=shift, once=size not in named and not ranges)
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
        sizes=tuple(sorted(named | further)),
        repeats=repeats,
        identical=identical,
        largest=float((high.astype(np.float64) - low).max()) / _width(low, high),
        flips=int(flipped.sum()),
        odd=unanswered_frames(engine, odd_frames(images, generator)),
    )


def answer_once_more(
    consistency: Consistency, engine: Engine, answered: Sequence[AnsweredSet], *, batch_size: int
) -> Consistency:
    """Let the engine answer whole sets in batches of another size, and compare with `answered`, by `batch_size`.

    It uses the largest batch that the engine takes, if that is larger than `batch_size`. For an engine that takes any
    batch it uses single images, if the logits in check_consistency moved by more than rounding explains and nearly all
    images kept their classes: more images are then needed to know how many classes change. Raises EngineError.
    """
    ranges = engine.description.batches
    size = max((limits.largest for limits in ranges), default=SIZES[0])
    enough = size <= batch_size if ranges else consistency.flips > FEW_FLIPS or consistency.largest <= _ROUNDING
    if enough:
        return consistency
    for stored in answered:
        logits = np.concatenate([engine.logits(batch) for batch in stored.images.batches(size)])
        consistency = replace(
            consistency,
            identical=consistency.identical and np.array_equal(logits, stored.logits),
            largest=max(consistency.largest, _moved(logits, stored.logits)),
            flips=consistency.flips + int((predictions(logits) != stored.answers).sum()),
            whole=consistency.whole + len(logits),
        )
    return consistency


def answer_later(
    consistency: Consistency, engine: Engine, answered: Sequence[AnsweredSet], *, batch_size: int, seed: int
) -> Consistency:
    """Let the engine answer some of the batches of `answered` again, at the end of the audit.

    `seed` draws one batch of each set, so an engine that counts calls cannot know which one. Raises EngineError.
    """
    generator = np.random.default_rng(seed)
    for stored in answered:
        chosen = int(generator.integers(-(-len(stored.logits) // batch_size)))
        batch = next(islice(stored.images.batches(batch_size), chosen, None))
        before = stored.logits[chosen * batch_size :][: len(batch)]
        logits = engine.logits(batch)
        consistency = replace(
            consistency,
            later=consistency.later + len(logits),
            later_changed=consistency.later_changed + int((logits != before).any(axis=1).sum()),
            later_largest=max(consistency.later_largest, _moved(logits, before)),
            later_flips=consistency.later_flips + int((predictions(logits) != predictions(before)).sum()),
        )
    return consistency


def spread_over_classes(labels: NDArray[np.int64], *, count: int) -> list[int]:
    """Indices of at most `count` images, taken from each class in turn so that rare classes are included; ascending."""
    turn = np.zeros(len(labels), dtype=np.intp)
    for label in np.unique(labels):
        turn[labels == label] = np.arange(int((labels == label).sum()))
    return sorted(np.argsort(turn, kind="stable")[:count].tolist())


def named_sizes(ranges: Sequence[BatchRange], *, batch_size: int) -> frozenset[int]:
    """The batch sizes that are run twice and compared bit for bit."""
    wanted = {*SIZES, batch_size, 2 * batch_size + 1}
    if not ranges:
        return frozenset(wanted)
    accepted = {size for size in wanted if _takes(ranges, size)}
    return frozenset(accepted | {size for limits in ranges for size in (limits.smallest, limits.usual, limits.largest)})


def further_sizes(
    ranges: Sequence[BatchRange], *, batch_size: int, side: int, generator: np.random.Generator
) -> frozenset[int]:
    """Further batch sizes for an engine that accepts these ranges (none: any), some of them drawn.

    side: of the images in pixels. Many large images in a batch would need more memory than a replay does.
    """
    tried: set[int] = set()
    if not ranges:
        largest = max(SIZES[-1], (_LARGEST if side <= _SMALL_SIDE else 2) * batch_size)
        tried = {size for size in _LADDER if size <= largest}
        return frozenset(tried | set(_drawn_sizes(2, largest, generator))) - named_sizes(ranges, batch_size=batch_size)
    power = 2
    while power <= max(limits.largest for limits in ranges):
        tried |= {size for size in (power - 1, power, power + 1) if _takes(ranges, size)}
        power *= 2
    for limits in ranges:
        tried |= set(_drawn_sizes(limits.smallest, limits.largest, generator))
    return frozenset(tried) - named_sizes(ranges, batch_size=batch_size)


def _drawn_sizes(smallest: int, largest: int, generator: np.random.Generator) -> list[int]:
    """Batch sizes from `smallest` to `largest`. Their logarithms are drawn uniformly, so small ones are more frequent."""
    logarithms = generator.uniform(np.log(smallest), np.log(largest + 1), _DRAWN)
    return [min(largest, int(size)) for size in np.exp(logarithms)]


def _takes(ranges: Sequence[BatchRange], size: int) -> bool:
    return any(limits.smallest <= size <= limits.largest for limits in ranges)


def _in_batches(
    engine: Engine, images: NDArray[np.uint8], size: int, *, shift: int, once: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The logits of all images in batches of `size`, and the image of each row.

    Starts at image `shift` and continues with the first images after the last one; the last batch is padded with further
    images. once: only the first batch.
    """
    count = len(images)
    rows = (np.arange(size if once else -(-count // size) * size) + shift) % count
    return rows, np.concatenate([engine.logits(images[rows[at : at + size]]) for at in range(0, len(rows), size)])


def _moved(logits: NDArray[np.float32], before: NDArray[np.float32]) -> float:
    low, high = np.minimum(logits, before), np.maximum(logits, before)
    return float((high.astype(np.float64) - low).max()) / _width(low, high)


def _width(low: NDArray[np.float32], high: NDArray[np.float32]) -> float:
    return float(high.astype(np.float64).max() - low.astype(np.float64).min()) or 1.0
