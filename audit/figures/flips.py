"""The images that an engine loses: correct or called malignant before, but not any more. The worst come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.logits import Indices, predictions
from skinaudit.artifacts.typed_json import Count
from skinaudit.audit.figures.metrics import turned_benign

LIMIT = 24
"""Number of flips of a set that a result keeps. Cancers that turned benign are all kept."""
_DIGITS = 4


@dataclass(frozen=True)
class Flip:
    """One image that the engine loses: only the source classifies it correctly, or malignant_to_benign is True.

    index: of the image in its set. name: as in the set. lesion: the set's group. label and predictions are class names.
    The probabilities are the softmax of the logits, rounded to four digits, in the order of the audit's classes.
    malignant_to_benign: a malignant image for which the source predicts any malignant class and the engine a benign one.
    """

    index: Count
    name: str
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
    names: Sequence[str],
    contract: InputContract,
    limit: int = LIMIT,
) -> tuple[Flip, ...]:
    """The first `limit` flips: malignant to benign before others, then by the engine's confidence in its wrong answer.

    All that turn benign are kept, whatever their number. source, engine: logits float32 (N, classes) of the same images.
    labels, groups: int64 (N,). names: of the images. Equal confidences keep the order of the set.
    """
    before, after = predictions(source), predictions(engine)
    classes, malignant = contract.classes, contract.malignant_labels
    benign_now = turned_benign(np.isin(before, malignant), after, labels, malignant)
    rows = np.flatnonzero(benign_now | ((before == labels) & (after != labels)))
    missed = benign_now[rows]
    source_shares, engine_shares = probabilities(source[rows]), probabilities(engine[rows])
    confidence = engine_shares.max(axis=1)
    return tuple(
        Flip(
            index=int(rows[position]),
            name=names[rows[position]],
            label=classes[labels[rows[position]]],
            lesion=int(groups[rows[position]]),
            source_answer=classes[before[rows[position]]],
            engine_answer=classes[after[rows[position]]],
            source_probabilities=tuple(round(float(share), _DIGITS) for share in source_shares[position]),
            engine_probabilities=tuple(round(float(share), _DIGITS) for share in engine_shares[position]),
            malignant_to_benign=bool(missed[position]),
        )
        for position in np.lexsort((rows, -confidence, ~missed))[: max(limit, int(missed.sum()))]
    )


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over classes: float32 (N, classes) -> float64 (N, classes). Rows sum to 1 for logits of any size."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
