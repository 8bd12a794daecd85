"""Find the precision in which an engine computes, by the rounding errors in its outputs.

The report of a runtime about a plan is no proof, because its inspector may leave out layers. So every plan is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.manifest import engine_file
from skinaudit.audit.evidence.answers import AnsweredSet
from skinaudit.audit.evidence.inputs import Inputs
from skinaudit.engines.engine import UNREPORTED, EngineDescription
from skinaudit.engines.open import open_emulated
from skinaudit.errors import EngineError, InvalidInputError, MissingDependencyError

_IMAGES = 64
_PLAIN = "fp32"


@dataclass(frozen=True)
class ComputedPrecision:
    """How the logits of the first images of a set differ from the source model's.

    precision: the requested one. unseen: why no comparison was possible; nothing else is then known. engine: root mean
    square of the engine's errors, divided by the range of the source's logits. emulated: the same for its graph, emulated in
    this precision on the CPU. An engine that computes in fp32 instead is far closer to the source. correlation: between the
    two kinds of errors, -1 to 1; 0 if one of them has none. Kernels of the same precision round the same weights, so their
    errors have the same direction.
    """

    precision: str
    images: int = 0
    engine: float = 0.0
    emulated: float = 0.0
    correlation: float = 0.0
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
    """Compare the engine's rounding errors with those of an emulation.

    None if fp32 was requested, and for a file with types of its own whose runtime reports all layers.
    """
    manifest = inputs.manifest
    executed = description.executed
    typed = bool(description.found) and executed is not None and UNREPORTED not in executed
    if emulated or manifest is None or manifest.asked == _PLAIN or typed:
        return None
    compared = next((stored for stored in answered if stored.white_box), None)
    if compared is None:
        return ComputedPrecision(manifest.asked, unseen="no set contains the source's logits")
    images = next(compared.images.batches(_IMAGES))
    try:
        graph = engine_file(path, manifest, manifest.graph)
        logits = open_emulated(graph, precision=manifest.asked, threads=threads, own=manifest.contract).logits(images)
    except (EngineError, InvalidInputError, MissingDependencyError) as error:
        return ComputedPrecision(manifest.asked, unseen=str(error))
    source = compared.images.source_logits[: len(images)]
    return compare_errors(manifest.asked, engine=compared.logits[: len(images)], emulated=logits, source=source)


def compare_errors(
    precision: str, *, engine: NDArray[np.float32], emulated: NDArray[np.float32], source: NDArray[np.float32]
) -> ComputedPrecision:
    """Compare the answers of an engine and of its emulation with the source's; all logits float32 (images, classes)."""
    width = float(source.max() - source.min()) or 1.0
    errors = [(logits.astype(np.float64) - source).ravel() / width for logits in (engine, emulated)]
    sizes = [float(np.sqrt(np.mean(error**2))) for error in errors]
    product = float(np.mean(errors[0] * errors[1]))
    correlation = product / (sizes[0] * sizes[1]) if all(sizes) else 0.0
    return ComputedPrecision(precision, len(source), engine=sizes[0], emulated=sizes[1], correlation=correlation)
