"""In which precision an engine computes, judged by its answers, where its runtime does not report it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.manifest import resolve
from skinaudit.audit.evidence.answers import AnsweredSet
from skinaudit.audit.evidence.inputs import Inputs
from skinaudit.engines.engine import UNREPORTED, EngineDescription
from skinaudit.engines.open import open_emulated
from skinaudit.errors import EngineError, InvalidInputError, MissingDependencyError

_IMAGES = 64
_PLAIN = "fp32"


@dataclass(frozen=True)
class ComputedPrecision:
    """How far the logits of the first images of a set lie from the source model's: root mean square over their range.

    precision: asked for. unseen: why nothing could be compared; then nothing else is known. engine: of the engine. emulated:
    of its graph, emulated in this precision on the CPU. An engine that computes in fp32 instead lies far closer.
    """

    precision: str
    images: int = 0
    engine: float = 0.0
    emulated: float = 0.0
    unseen: str | None = None


def measure_precision(
    path: Path,
    inputs: Inputs,
    description: EngineDescription,
    answered: Sequence[AnsweredSet],
    *,
    emulated: bool,
    threads: int | None,
) -> ComputedPrecision | None:
    """Compare the engine's rounding with that of an emulation; None where fp32 was asked for, or the runtime reports all."""
    manifest = inputs.manifest
    reported = description.executed is not None and UNREPORTED not in description.executed
    if emulated or manifest is None or manifest.asked == _PLAIN or reported:
        return None
    compared = next((stored for stored in answered if stored.white_box), None)
    if compared is None:
        return ComputedPrecision(manifest.asked, unseen="no set holds the source's logits")
    images = next(compared.images.batches(_IMAGES))
    try:
        graph = resolve(path.parent, manifest.graph)
        logits = open_emulated(graph, precision=manifest.asked, threads=threads).logits(images)
    except (EngineError, InvalidInputError, MissingDependencyError) as error:
        return ComputedPrecision(manifest.asked, unseen=str(error))
    source = compared.images.source_logits[: len(images)]
    return ComputedPrecision(
        manifest.asked,
        len(images),
        engine=_distance(compared.logits[: len(images)], source),
        emulated=_distance(logits, source),
    )


def _distance(logits: NDArray[np.float32], source: NDArray[np.float32]) -> float:
    width = float(source.max() - source.min()) or 1.0
    return float(np.sqrt(np.mean((logits.astype(np.float64) - source) ** 2))) / width
