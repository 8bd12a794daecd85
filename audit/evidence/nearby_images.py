"""Images that are in no set but close to the stored ones: one 8-bit step away, and between two steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.logits import predictions
from skinaudit.audit.evidence.consistency import spread_over_classes
from skinaudit.audit.evidence.inputs import Inputs
from skinaudit.audit.evidence.reference import Reference
from skinaudit.engines.engine import Engine, Images
from skinaudit.errors import EngineError

_IMAGES = 35
_FLOATS = ("float32", "float16", "float64")
STORED, STEP, BETWEEN = "stored images", "images one step away", "images between the steps"
ALMOST = "images a tenth of a step away"
HALFWAY, ALMOST_HALFWAY = "images half a step up", "images a tenth of a step from there"
_BASE = {ALMOST_HALFWAY: HALFWAY}
"""The images to which an engine's own answers are compared, if these are not the stored images."""


@dataclass(frozen=True)
class Difference:
    """Difference of two lists of answers to the same images of one kind.

    median: over the images, of the largest difference of any logit, relative to the range of all. flips: images whose
    predicted class differs.
    """

    median: float
    flips: int


@dataclass(frozen=True)
class NearbyImages:
    """Some clean images, as stored and with small changes.

    The kinds of images are: as stored; every pixel one step up or down; every pixel moved by up to half a step; every pixel
    moved by up to a tenth of a step; and the last one around the middle between two steps. images: number of each kind.
    reference: the engine against its reference on the first three kinds; empty without another reference. own: on the other
    kinds, the engine against its own answers to the stored images; around the middle, against its answers there. An engine
    with integer input has no images between the steps. unanswered: kinds for which the engine gives NaN or infinity.
    """

    images: int
    reference: Mapping[str, Difference]
    own: Mapping[str, Difference]
    unanswered: tuple[str, ...]


def try_nearby_images(engine: Engine, reference: Reference, inputs: Inputs, *, batch_size: int, seed: int) -> NearbyImages:
    """Run images of all kinds on the engine and on its reference; `seed` draws them."""
    whole_numbers = inputs.contract is not None and inputs.contract.dtype not in _FLOATS
    compared = None if reference.is_subject else reference.engine
    chosen = spread_over_classes(inputs.clean.labels, count=_IMAGES)
    stored = np.stack([inputs.clean.image(index) for index in chosen])
    kinds = kinds_of(stored, np.random.default_rng(seed), between=not whole_numbers)
    return compare_nearby(engine, compared, kinds, batch_size=batch_size)


def compare_nearby(
    engine: Engine, reference: Engine | None, kinds: Mapping[str, Images], *, batch_size: int
) -> NearbyImages:
    """Compare the answers to images by kind, including STORED; every array is (N, 3, size, size)."""
    answers = {kind: _answers(engine, images, batch_size) for kind, images in kinds.items()}
    own = {}
    for kind, logits in answers.items():
        base = answers[_BASE.get(kind, STORED)]
        if kind != STORED and base is not None and logits is not None:
            own[kind] = _difference(base, logits)
    beside = {}
    for kind in (STORED, STEP, BETWEEN):
        logits = answers.get(kind)
        if logits is None:
            continue
        expected = None if reference is None else _answers(reference, kinds[kind], batch_size)
        if expected is not None:
            beside[kind] = _difference(expected, logits)
    unanswered = tuple(kind for kind, logits in answers.items() if logits is None)
    return NearbyImages(len(kinds[STORED]), beside, own, unanswered)


def kinds_of(stored: NDArray[np.uint8], generator: np.random.Generator, *, between: bool) -> dict[str, Images]:
    """Images by kind, all with the shape of `stored`. between: also those with values that are not whole numbers."""
    steps = generator.choice(np.array([-1, 1], np.int16), stored.shape)
    kinds: dict[str, Images] = {STORED: stored, STEP: np.clip(stored + steps, 0, 255).astype(np.uint8)}
    if between:
        halfway = stored + np.where(stored < 255, 0.5, -0.5)
        for kind, base, most in ((BETWEEN, stored, 0.5), (ALMOST, stored, 0.1), (ALMOST_HALFWAY, halfway, 0.1)):
            parts = generator.uniform(-most, most, stored.shape)
            kinds[kind] = np.clip(base + parts, 0, 255).astype(np.float32)
        kinds[HALFWAY] = halfway.astype(np.float32)
    return kinds


def _answers(engine: Engine, images: Images, batch_size: int) -> NDArray[np.float32] | None:
    """The answers, float32 (N, classes); None if any is NaN or infinite."""
    try:
        logits = np.concatenate([engine.logits(images[at : at + batch_size]) for at in range(0, len(images), batch_size)])
    except EngineError:  # an engine answers with finite logits, or raises this error
        return None
    return logits if np.isfinite(logits).all() else None


def _difference(expected: NDArray[np.float32], logits: NDArray[np.float32]) -> Difference:
    width = (float(expected.max()) - float(expected.min())) or 1.0
    largest = np.abs(logits.astype(np.float64) - expected).max(axis=1)
    return Difference(float(np.median(largest)) / width, int((predictions(logits) != predictions(expected)).sum()))
