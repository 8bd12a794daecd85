"""How clearly a model is right about each image: what fresh attacks on an engine push down, with and without gradients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def lead(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """By how much the true class leads the best other one, float64 (N,); an image counts as broken below 0.

    logits: float32 (N, classes); labels: int64 (N,).
    """
    rows = np.arange(len(labels))
    own = logits[rows, labels].astype(np.float64)
    others = logits.copy()
    others[rows, labels] = -np.inf
    return np.asarray(own - others.max(axis=1))
