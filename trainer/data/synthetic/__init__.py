"""The built-in default data: a seeded procedural generator of dermatoscopic images, always marked as synthetic."""

from __future__ import annotations

from itertools import islice

import numpy as np

from skinaudit.artifacts.contract import CLASSES, MALIGNANT
from skinaudit.artifacts.cores import cores
from skinaudit.artifacts.files import Progress, digest_parts
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data.dataset import Dataset
from skinaudit.trainer.data.synthetic.parallel import draw
from skinaudit.trainer.data.synthetic.rows import views

_BY_ONE = 1 << 22
"""Pixels that justify one more process: about 5 s of drawing, while a process takes 0.3 s to start."""


def generate(*, images: int = 2600, size: int = 64, seed: int = 0, progress: Progress | None = None) -> Dataset:
    """Draw `images` dermatoscopic images of about images / 1.34 lesions, with HAM10000's class shares.

    Returns uint8 (images, 3, size, size) RGB. Equal (images, size, seed) give equal bytes on one machine. A smaller number
    of images gives the first images of a larger one, and another size gives the same lesions at another resolution. From 140
    images on, every class is present. Many images are drawn on several cores. Raises InvalidInputError for images < 1, size
    < 16 or a negative seed.
    """
    if images < 1 or size < 16 or seed < 0:
        raise InvalidInputError(
            f"synthetic data: images {images}, size {size}, seed {seed}: use images >= 1, size >= 16 and seed >= 0"
        )
    pixels = np.empty((images, 3, size, size), np.uint8)
    processes = min(cores(), images * size * size // _BY_ONE + 1)
    for row, drawn in enumerate(draw(images=images, size=size, seed=seed, processes=processes)):
        pixels[row] = drawn
        if progress is not None:
            progress(row + 1, images)
    rows = list(islice(views(), images))
    labels = np.array([label for _, _, label in rows], np.int64)
    groups = np.array([lesion for lesion, _, _ in rows], np.int64)
    ids = [f"synthetic_{seed}_{lesion:05d}_{view}" for lesion, view, _ in rows]
    for array in (pixels, labels, groups):
        array.flags.writeable = False
    return Dataset(
        images=pixels,
        labels=labels,
        groups=groups,
        ids=tuple(ids),
        classes=CLASSES,
        malignant=MALIGNANT,
        title=f"synthetic (procedural, seed {seed}, {images} images)",
        synthetic=True,
        digest=digest_parts(pixels.tobytes(), labels.tobytes(), groups.tobytes(), "\n".join(ids).encode()),
    )
