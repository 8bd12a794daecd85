"""The images that an engine loses: right before, wrong now, the worst first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.logits import Indices, predictions
from skinaudit.artifacts.typed_json import Count

LIMIT = 24
"""How many flips of a set a result keeps."""
_DIGITS = 4


@dataclass(frozen=True)
class Flip:
    """One image that the source names rightly and the engine does not. Invariant: source_answer == label != engine_answer.

    index: of the image in its set. lesion: the set's group. Label and answers are class names; the probabilities are the
    softmax of the logits, rounded to four digits, in the order of the audit's classes. malignant_to_benign: a malignant
    image that the engine calls benign.
    """

    index: Count
    label: str
    lesion: int
    source_answer: str
    engine_answer: str
    source_probabilities: tuple[float, ...]
    engine_probabilities: tuple[float, ...]
    malignant_to_benign: bool


def worst_flips(
    source: NDArray[np.float32],
    engine: NDArray[np.float32],
    *,
    labels: Indices,
    groups: NDArray[np.int64],
    contract: InputContract,
    limit: int = LIMIT,
) -> tuple[Flip, ...]:
    """The first `limit` flips: malignant to benign before others, then by the engine's confidence in its wrong answer.

    source, engine: logits float32 (N, classes) of the same images; labels, groups: int64 (N,). Equal confidences keep the
    order of the set.
    """
    before, after = predictions(source), predictions(engine)
    rows = np.flatnonzero((before == labels) & (after != labels))
    classes, malignant = contract.classes, contract.malignant_labels
    missed = np.isin(labels[rows], malignant) & ~np.isin(after[rows], malignant)
    source_shares, engine_shares = probabilities(source[rows]), probabilities(engine[rows])
    confidence = engine_shares.max(axis=1)
    return tuple(
        Flip(
            index=int(rows[position]),
            label=classes[labels[rows[position]]],
            lesion=int(groups[rows[position]]),
            source_answer=classes[before[rows[position]]],
            engine_answer=classes[after[rows[position]]],
            source_probabilities=tuple(round(float(share), _DIGITS) for share in source_shares[position]),
            engine_probabilities=tuple(round(float(share), _DIGITS) for share in engine_shares[position]),
            malignant_to_benign=bool(missed[position]),
        )
        for position in np.lexsort((rows, -confidence, ~missed))[:limit]
    )


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over classes: float32 (N, classes) -> float64 (N, classes), rows summing to 1 whatever the logits' size."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
