"""The embedded default data: a seeded procedural generator of dermatoscopic images, never to be mistaken for real ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skinaudit.artifacts.contract import CLASSES, MALIGNANT
from skinaudit.artifacts.files import Progress, digest_parts
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data.dataset import Dataset
from skinaudit.trainer.data.synthetic.cues import draw_cues
from skinaudit.trainer.data.synthetic.render import draw_image

# Lesions and images of HAM10000 (Tschandl et al. 2018, https://doi.org/10.1038/sdata.2018.161), in the order of CLASSES.
_LESIONS = (614, 5403, 327, 228, 727, 73, 98)
_IMAGES = (1113, 6705, 514, 327, 1099, 115, 142)
_MOST_VIEWS = 6
_GOLDEN = 0.6180339887498949


def generate(*, images: int = 2600, size: int = 64, seed: int = 0, progress: Progress | None = None) -> Dataset:
    """Draw `images` dermatoscopic images of about images / 1.34 lesions with HAM10000's class shares.

    Returns uint8 (images, 3, size, size) RGB. Equal (images, size, seed) give equal bytes on one machine; a smaller
    number of images gives a prefix of a larger one, and another size the same lesions at another resolution. From 140
    images on every class is present. Raises InvalidInputError for images < 1, size < 16 or a negative seed.
    """
    if images < 1 or size < 16 or seed < 0:
        raise InvalidInputError(
            f"synthetic data: images {images}, size {size}, seed {seed}: use images >= 1, size >= 16 and seed >= 0"
        )
    pixels = np.empty((images, 3, size, size), np.uint8)
    labels = np.empty(images, np.int64)
    groups = np.empty(images, np.int64)
    ids = []
    for row, (lesion, view, label) in zip(range(images), _views(), strict=False):
        geometry = np.random.default_rng((seed, lesion, 0))
        cues = draw_cues(label, geometry)
        pixels[row] = draw_image(cues, geometry=geometry, view=np.random.default_rng((seed, lesion, 1 + view)), size=size)
        labels[row], groups[row] = label, lesion
        ids.append(f"synthetic_{seed}_{lesion:05d}_{view}")
        if progress is not None:
            progress(row + 1, images)
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


def _views() -> Iterator[tuple[int, int, int]]:
    """Endless (lesion, view, label): every prefix keeps as close to HAM10000's shares as whole lesions allow."""
    shares = np.array(_LESIONS) / sum(_LESIONS)
    drawn = np.zeros(len(CLASSES), np.int64)
    lesion = 0
    while True:
        label = int(np.argmax(shares * (lesion + 1) - drawn))
        # Geometric number of views with HAM10000's mean for the class, its quantiles taken in a golden-ratio sequence so
        # that a short prefix already has the right mean.
        again = 1 - _LESIONS[label] / _IMAGES[label]
        quantile = (0.5 + drawn[label] * _GOLDEN) % 1
        views = min(_MOST_VIEWS, 1 + int(np.log1p(-quantile) / np.log(again)))
        drawn[label] += 1
        for view in range(views):
            yield lesion, view, label
        lesion += 1
