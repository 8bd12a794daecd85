"""Half precision emulated, where the device under the audit computes a half precision file in single precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.manifest import resolve
from skinaudit.audit.evidence.consistency import unanswered_frames
from skinaudit.audit.evidence.inputs import Inputs
from skinaudit.engines.engine import Engine
from skinaudit.engines.half import HALVES
from skinaudit.engines.open import open_emulated
from skinaudit.errors import EngineError, MissingDependencyError

_IMAGES = 64


@dataclass(frozen=True)
class HalfPrecision:
    """The first images of each set on the opened engine and on an emulation that rounds between layers.

    unseen: why no emulation ran; then nothing else is known. overflows: images in batches where the emulation answers NaN or
    infinity. flips: those of the others that it names otherwise. odd: frames that no camera takes (see Consistency) to
    which it answers NaN or infinity.
    """

    precision: str
    images: int = 0
    overflows: int = 0
    flips: int = 0
    odd: tuple[str, ...] = ()
    unseen: str | None = None


def emulate_half_precision(
    path: Path, inputs: Inputs, engine: Engine, *, emulated: bool, threads: int | None
) -> HalfPrecision | None:
    """Compare a half precision file with its emulation if the device computes it in another precision; else None."""
    manifest, file_layers, executed = inputs.manifest, engine.description.found, engine.description.executed
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
        halved = open_emulated(resolve(path.parent, manifest.graph), precision=manifest.asked, threads=threads)
    except MissingDependencyError as error:
        return HalfPrecision(manifest.asked, unseen=str(error))
    return compare_with_emulation(manifest.asked, engine, halved, inputs.sets)


def compare_with_emulation(
    precision: str, engine: Engine, emulated: Engine, sets: Sequence[AdversarialSet]
) -> HalfPrecision:
    """Compare the opened engine with `emulated`, its graph in rounded half precision."""
    images = overflows = flips = size = 0
    for stored in sets:
        batch = next(stored.batches(_IMAGES))
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
    return HalfPrecision(precision, images, overflows, flips, unanswered_frames(emulated, size))
