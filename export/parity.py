"""Compares an engine with its source model on the stored clean set, in the runtime that is shipped."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.engines.engine import Engine
from skinaudit.errors import EngineError
from skinaudit.export.precision import Precision

BATCH = 64


@dataclass(frozen=True)
class Parity:
    """Logit differences and equal predictions between engine and source model over all `images` of the clean set.

    max_abs, mean_abs: of the logit difference. scale: largest absolute source logit. agreement: share of images with the
    same prediction. near_ties: images whose predictions differ although the source's best two logits lie closer than
    twice the precision's tolerance, where rounding alone decides.
    """

    images: int
    max_abs: float
    mean_abs: float
    scale: float
    agreement: float
    near_ties: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def measure_parity(engine: Engine, clean: AdversarialSet, *, precision: Precision) -> Parity:
    """Run `engine` over the clean set and compare with its stored source logits.

    Raises EngineError if the engine fails, or has another image size or other classes than the set.
    """
    contract, description = clean.info.contract, engine.description
    if (description.size, description.classes) != (contract.size, len(contract.classes)):
        raise EngineError(
            f"{clean.path}: images of size {contract.size} and {len(contract.classes)} classes, but the engine has "
            f"{description.size} and {description.classes}; export it from the run of this set"
        )
    source = clean.source_logits
    logits = np.concatenate([engine.logits(batch) for batch in clean.batches(BATCH)])
    difference = np.abs(logits.astype(np.float64) - source)
    flipped = logits.argmax(axis=1) != source.argmax(axis=1)
    scale = float(np.abs(source).max())
    runner_up, best = np.sort(source, axis=1)[:, -2:].T
    near = best - runner_up <= 2 * (precision.tolerance or 0.0) * scale
    return Parity(
        images=len(clean),
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        scale=scale,
        agreement=float(1 - flipped.mean()),
        near_ties=int((flipped & near).sum()),
    )


def check_parity(parity: Parity, *, precision: Precision, where: str) -> None:
    """Raise EngineError if the engine is a different classifier, and not just the source model in a different precision."""
    agreement = parity.agreement + parity.near_ties / parity.images
    if precision.tolerance is not None and parity.max_abs > precision.tolerance * parity.scale:
        raise EngineError(
            f"{where}: logits differ from the source model by up to {parity.max_abs:.2g} of {parity.scale:.2g},"
            f" allowed is {precision.tolerance:g} of it; the conversion is broken, please report it together with the run"
        )
    if agreement < precision.agreement - 1e-9:
        raise EngineError(
            f"{where}: agrees with the source model on {parity.agreement:.1%} of {parity.images} clean images, at least"
            f" {precision.agreement:.0%} is needed to ship it; export another precision or train longer"
        )
