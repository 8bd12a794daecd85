"""Half precision emulated, where the device under the audit computes a half precision file in single precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.audit.evidence.consistency import unanswered_frames
from skinaudit.engines.engine import Engine
from skinaudit.errors import EngineError

_IMAGES = 64


@dataclass(frozen=True)
class Halved:
    """The first images of each set on the opened engine and on an emulation that rounds between layers.

    overflows: images to which, or in a batch with which, the emulation answers NaN or infinity. flips: those of the others
    that it names otherwise. odd: frames that no camera takes (see Consistency) to which it answers NaN or infinity.
    """

    precision: str
    images: int
    overflows: int
    flips: int
    odd: tuple[str, ...]


def check_halved(precision: str, engine: Engine, emulated: Engine, sets: Sequence[AdversarialSet]) -> Halved:
    """Compare the opened engine with `emulated`, its graph in rounded half precision."""
    images = overflows = flips = size = 0
    for one in sets:
        batch = next(one.batches(_IMAGES))
        images, size = images + len(batch), batch.shape[2]
        answers = engine.logits(batch)
        try:
            halved = emulated.logits(batch)
        except EngineError:  # an engine answers with finite logits or not at all
            overflows += len(batch)
            continue
        finite = np.isfinite(halved).all(axis=1)
        overflows += int((~finite).sum())
        flips += int((answers.argmax(axis=1) != halved.argmax(axis=1))[finite].sum())
    return Halved(precision, images, overflows, flips, unanswered_frames(emulated, size))
