"""A model behind a defence: each image is transformed before the engine sees it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from skinaudit.engines.defences import Defence


def defended(
    logits: Callable[[NDArray[np.uint8]], NDArray[np.float32]], defence: Defence, draws: int, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Mean logits over `draws` transformed copies of each image: uint8 (B, 3, H, H) -> float32 (B, classes).

    logits: the function of an engine or of a model. A defence without random numbers needs only one copy. The random numbers
    depend only on the pixels and on the number of the copy, so the answers do not depend on the batch.
    """
    copies = [
        logits(np.stack([defence.fixed(image, draw=draw) for image in images]))
        for draw in range(draws if defence.random else 1)
    ]
    mean: NDArray[np.float32] = np.mean(copies, axis=0, dtype=np.float32)
    return mean
