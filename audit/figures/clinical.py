"""The clinical endpoint: malignant images called malignant, whichever malignant class is predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.logits import Indices
from skinaudit.audit.figures.metrics import turned_benign
from skinaudit.audit.figures.statistics import PairedDrop, paired_drop

MALIGNANT_CALLS = "malignant called malignant"
"""Name of the figure that a gate of the clinical endpoint bounds; it is not the name of a class."""


def called_malignant_drop(
    before: NDArray[np.bool_],
    engine: Indices,
    *,
    labels: Indices,
    groups: NDArray[np.int64],
    malignant: Sequence[int],
    confidence: float,
) -> PairedDrop | None:
    """The paired drop in sensitivity, pooled over the malignant classes; None if no image is malignant.

    before: bool (N,), images that the source (or an earlier engine) calls malignant. engine, labels, groups: int64 (N,).
    """
    ill = np.isin(labels, malignant)
    if not ill.any():
        return None
    return paired_drop(before[ill], np.isin(engine[ill], malignant), groups[ill], confidence=confidence)


def turned_benign_share(
    before: NDArray[np.bool_],
    engine: Indices,
    *,
    labels: Indices,
    groups: NDArray[np.int64],
    malignant: Sequence[int],
    confidence: float,
) -> PairedDrop | None:
    """The gross loss: of the malignant images that were called malignant, those that the engine calls benign.

    Arguments: see called_malignant_drop. Nothing can be gained here, so Tango's upper bound equals Wilson's. None if no
    malignant image was called malignant.
    """
    detected = np.isin(labels, malignant) & before
    if not detected.any():
        return None
    kept = ~turned_benign(before, engine, labels, malignant)
    return paired_drop(before[detected], kept[detected], groups[detected], confidence=confidence)
