"""What logits say: the class that they name, and how clearly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skinaudit.errors import EngineError

Indices = NDArray[np.int64]
"""Class indices, one an image."""


def predictions(logits: NDArray[np.floating]) -> Indices:
    """The class with the largest logit: float (N, classes) -> int64 (N,), the first of equal ones.

    Raises EngineError on another shape and on NaN or infinity, which argmax would turn into an answer.
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise EngineError(f"logits have shape {logits.shape}, expected (images, classes); export the engine again")
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        raise EngineError(
            f"logits of {int((~finite).sum())} of {len(logits)} images hold NaN or infinity, first at image "
            f"{int(finite.argmin())}; export the engine again in a wider precision"
        )
    return np.asarray(logits.argmax(axis=1), np.int64)


def lead(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """By how much the true class leads the best other one, float64 (N,); an image counts as broken below 0.

    Fresh attacks on an engine push it down, with and without gradients.

    logits: float32 (N, classes); labels: int64 (N,).
    """
    rows = np.arange(len(labels))
    own = logits[rows, labels].astype(np.float64)
    others = logits.copy()
    others[rows, labels] = -np.inf
    return np.asarray(own - others.max(axis=1))


def smooth_lead(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The logarithm of the summed exponentials of the wrong logits less the true one, float64 (N,).

    The cross-entropy is log(1 + exp(smooth lead)), so both rise together; this one is never rounded to 0.

    logits: float32 (N, classes); labels: int64 (N,).
    """
    rows = np.arange(len(labels))
    others = logits.astype(np.float64)
    own = others[rows, labels]
    others[rows, labels] = -np.inf
    largest = others.max(axis=1)
    return np.asarray(largest + np.log(np.exp(others - largest[:, None]).sum(axis=1)) - own)
