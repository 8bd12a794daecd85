"""The reference in the engine's half precision: how far correct rounding of this model moves its logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.manifest import engine_file
from skinaudit.audit.evidence.answers import AnsweredSet
from skinaudit.audit.evidence.inputs import Inputs
from skinaudit.engines.half import HALVES
from skinaudit.engines.open import open_emulated
from skinaudit.errors import EngineError, InvalidInputError, MissingDependencyError

_IMAGES = 64


@dataclass(frozen=True, eq=False)
class HalvedAnswers:
    """Logits, float32 (N, classes), for the first images of the white-box set with this title.

    source: as stored. engine: of the engine. halved: of its fp32 reference, emulated in the requested precision.
    """

    title: str
    source: NDArray[np.float32]
    engine: NDArray[np.float32]
    halved: NDArray[np.float32]


def answer_in_halves(
    path: Path, inputs: Inputs, answered: Sequence[AnsweredSet], *, threads: int | None
) -> tuple[HalvedAnswers, ...]:
    """Emulate the reference of a half precision engine; empty for other engines, and if no ONNX file can be emulated."""
    manifest = inputs.manifest
    if manifest is None or manifest.asked not in HALVES or Path(manifest.reference.file).suffix != ".onnx":
        return ()
    if not (path.parent / manifest.reference.file).is_file():
        return ()
    try:
        file = engine_file(path, manifest, manifest.reference)
        halved = open_emulated(file, precision=manifest.asked, threads=threads, own=manifest.contract)
        answers = []
        for stored in answered:
            if stored.white_box:
                logits = halved.logits(next(stored.images.batches(_IMAGES)))
                count = len(logits)
                source = stored.images.source_logits[:count]
                answers.append(HalvedAnswers(stored.title, source, stored.logits[:count], logits))
        return tuple(answers)
    except (EngineError, InvalidInputError, MissingDependencyError):  # then the bound for all models is used
        return ()
