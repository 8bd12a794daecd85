"""Images of one lesion are less evidence than images of several: how many lesions a number of images counts as."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def effective_lesions(groups: NDArray[np.int64]) -> float:
    """(sum m)^2 / sum m^2 over lesions of m images: their number, if all have equally many images, and fewer otherwise.

    groups: int64 (N,) lesion index. It is N where each image is a lesion of its own. Kish, Survey Sampling (1965), 11.7.
    """
    _, sizes = np.unique(groups, return_counts=True)
    return float(sizes.sum()) ** 2 / float((sizes**2).sum())
