"""Several images of one lesion are less evidence than images of several lesions: the effective number of lesions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def effective_lesions(groups: NDArray[np.int64]) -> float:
    """(sum m)^2 / sum m^2 over lesions with m images each. This is their number if all have equally many images, else less.

    groups: int64 (N,) lesion index. The result is N if each image is its own lesion. Kish, Survey Sampling (1965), 11.7.
    """
    _, sizes = np.unique(groups, return_counts=True)
    return float(sizes.sum()) ** 2 / float((sizes**2).sum())
