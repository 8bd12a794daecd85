"""The order of the synthetic images: which lesion and view each row shows, and its pixels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.contract import CLASSES
from skinaudit.trainer.data.synthetic.cues import draw_cues
from skinaudit.trainer.data.synthetic.render import draw_image

# Lesions and images of HAM10000 (Tschandl et al. 2018, https://doi.org/10.1038/sdata.2018.161), in the order of CLASSES.
_LESIONS = (614, 5403, 327, 228, 727, 73, 98)
_IMAGES = (1113, 6705, 514, 327, 1099, 115, 142)
_MOST_VIEWS = 6
_GOLDEN = 0.6180339887498949


def views() -> Iterator[tuple[int, int, int]]:
    """Endless (lesion, view, label). Every prefix is as close to HAM10000's shares as whole lesions allow."""
    shares = np.array(_LESIONS) / sum(_LESIONS)
    drawn = np.zeros(len(CLASSES), np.int64)
    lesion = 0
    while True:
        label = int(np.argmax(shares * (lesion + 1) - drawn))
        # Geometric number of views with HAM10000's mean for the class. Its quantiles are taken in a golden-ratio sequence,
        # so
        # that a short prefix already has the right mean.
        again = 1 - _LESIONS[label] / _IMAGES[label]
        quantile = (0.5 + drawn[label] * _GOLDEN) % 1
        number = min(_MOST_VIEWS, 1 + int(np.log1p(-quantile) / np.log(again)))
        drawn[label] += 1
        for view in range(number):
            yield lesion, view, label
        lesion += 1


def draw_rows(*, images: int, size: int, seed: int, first: int = 0, step: int = 1) -> Iterator[NDArray[np.uint8]]:
    """Pixels of the rows first, first + step, ... below `images`; each is uint8 (3, size, size) RGB."""
    for lesion, view, label in islice(views(), first, images, step):
        geometry = np.random.default_rng((seed, lesion, 0))
        cues = draw_cues(label, geometry)
        yield draw_image(cues, geometry=geometry, view=np.random.default_rng((seed, lesion, 1 + view)), size=size)
