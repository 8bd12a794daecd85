"""Run the images of a set on an engine and keep only the answers."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.files import Progress
from skinaudit.engines.engine import Engine
from skinaudit.errors import EngineError


@dataclass(frozen=True, eq=False)
class Replayed:
    """An engine's answers to a set. logits: float32 (N, classes), finite. images_per_second: including reading the images.

    kept: the answers are from an interrupted audit (skinaudit.audit.evidence.unfinished).
    """

    logits: NDArray[np.float32]
    images_per_second: float
    kept: bool = False


def replay(engine: Engine, images: AdversarialSet, *, batch_size: int = 64, progress: Progress | None = None) -> Replayed:
    """Run every image of a set through an engine, in order and in batches; memory does not grow with the images.

    Raises EngineError on NaN, infinity or a wrong shape. Batches are read in this thread: reading costs about a
    hundredth of what a small model takes to run, so a second thread would gain nothing and take a core from the runtime.
    """
    count, classes = len(images), len(images.info.contract.classes)
    logits = np.empty((count, classes), np.float32)
    started, done = time.perf_counter(), 0
    for batch in images.batches(batch_size):
        answer = engine.logits(batch)
        if answer.shape != (len(batch), classes):
            raise EngineError(
                f"{images.path}: the engine answers {answer.shape} to {len(batch)} images of {classes} classes"
            )
        if not np.isfinite(answer).all():
            raise EngineError(
                f"{images.path}: the engine returns NaN or infinity among images {done} to {done + len(batch) - 1}"
            )
        logits[done : done + len(batch)] = answer
        done += len(batch)
        if progress is not None:
            progress(done, count)
    return Replayed(logits, count / (time.perf_counter() - started))


def whole(progress: Progress | None, total: int) -> Progress:
    """Combine the progress of several replays, one after another, into progress over all `total` images."""
    before = 0

    def tick(done: int, count: int) -> None:
        nonlocal before
        if progress is not None:
            progress(before + done, total)
        if done == count:
            before += count

    return tick
