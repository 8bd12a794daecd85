"""Logits: which class they predict, and with which margin."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skinaudit.errors import EngineError, InvalidInputError

Indices = NDArray[np.int64]
"""Class indices, one per image."""


def check_positive(classes: Sequence[str], positive: str, threshold: float) -> None:
    """Raise InvalidInputError unless an answer of one column can distinguish these classes by this threshold."""
    if len(classes) != 2 or positive not in classes:
        raise InvalidInputError(
            f"positive = {positive!r}: one output column needs two classes and one of them as positive; the classes are "
            f"{', '.join(classes)}"
        )
    if not 0 < threshold < 1:
        raise InvalidInputError(f"threshold {threshold:g}: give a probability between 0 and 1, such as 0.5")


def threshold_logit(threshold: float) -> float:
    """The logit of a probability between 0 and 1."""
    return math.log(threshold) - math.log1p(-threshold)


def two_logits(margin: NDArray[np.float64], above: NDArray[np.bool_], *, positive: int) -> NDArray[np.float32]:
    """An answer of one column as logits float32 (N, 2): the positive class gets its margin, the other 0.

    margin: (N,), the logit of the positive class minus that of the threshold; `positive`, 0 or 1, is the index of this
    class. above: (N,), whether this class is predicted: it then gets the larger logit, otherwise the smaller one, so
    rounding of the margin cannot change the prediction.
    """
    least = float(np.finfo(np.float32).tiny)
    logits = np.zeros((len(margin), 2), np.float32)
    logits[:, positive] = np.where(above, np.maximum(margin, least), np.minimum(margin, -least))
    return logits


def named_classes(answers: NDArray[np.floating]) -> NDArray[np.intp]:
    """The column with the largest value in each row of raw answers (N, columns); for one column, whether it is above 0."""
    return np.asarray(answers.argmax(axis=1) if answers.shape[1] > 1 else answers[:, 0] > 0, np.intp)


def predictions(logits: NDArray[np.floating]) -> Indices:
    """The class with the largest logit: float (N, classes) -> int64 (N,), the first one on a tie.

    Raises EngineError for another shape and for NaN or infinity, which argmax would turn into an answer.
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise EngineError(f"logits have shape {logits.shape}, expected (images, classes); export the engine again")
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        raise EngineError(
            f"logits of {int((~finite).sum())} of {len(logits)} images have NaN or infinity, first at image "
            f"{int(finite.argmin())}; export the engine again in a wider precision"
        )
    return np.asarray(logits.argmax(axis=1), np.int64)


def lead(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Logit of the true class minus that of the best other class, float64 (N,). Below 0 an image counts as broken.

    Fresh attacks on an engine reduce it, with or without gradients.

    logits: float32 (N, classes). labels: int64 (N,).
    """
    rows = np.arange(len(labels))
    own = logits[rows, labels].astype(np.float64)
    wrong = logits.copy()
    wrong[rows, labels] = -np.inf
    return np.asarray(own - wrong.max(axis=1))


def smooth_lead(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Logarithm of the summed exponentials of the wrong logits, minus the true logit, float64 (N,).

    The cross-entropy is log(1 + exp(smooth lead)), so both increase together, but the smooth lead is never rounded to 0.

    logits: float32 (N, classes). labels: int64 (N,).
    """
    rows = np.arange(len(labels))
    wrong = logits.astype(np.float64)
    own = wrong[rows, labels]
    wrong[rows, labels] = -np.inf
    largest = wrong.max(axis=1)
    return np.asarray(largest + np.log(np.exp(wrong - largest[:, None]).sum(axis=1)) - own)


def range_text(fraction: float) -> str:
    """A difference of logits, as a fraction of their range, without an exponent: `by 0.0003% of their range`."""
    share = 100 * fraction
    if 0 < share < 1e-4:
        return "by less than 0.0001% of their range"
    return f"by {share:,.1f}% of their range" if share >= 1 else f"by {share:.1g}% of their range"
