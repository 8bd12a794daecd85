"""Frames that no camera takes but a service may get: covered lenses, test pictures, cut-outs, damaged data."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.engines.engine import Engine
from skinaudit.errors import EngineError

Frames = Mapping[str, NDArray[np.uint8]]
"""Frames by name, each uint8 (3, size, size)."""

_COLOURS = {"black": (0, 0, 0), "blue": (0, 0, 255), "green": (0, 255, 0), "cyan": (0, 255, 255), "red": (255, 0, 0),
            "magenta": (255, 0, 255), "yellow": (255, 255, 0), "white": (255, 255, 255),
            "grey": (128, 128, 128)}  # fmt: skip
_PART = 4  # share of an image's side, for the darkest and the brightest crop


def odd_frames(images: AdversarialSet, generator: np.random.Generator) -> Frames:
    """Odd frames with the size of these images.

    Pure colours, gradients, noise, patterns, and the darkest and the brightest crop of any of the images, magnified.
    generator: for the noise and for a random colour.
    """
    size = images.image(0).shape[1]
    shape = (3, size, size)
    across = np.broadcast_to(np.linspace(0, 255, size), shape)
    colours = {**_COLOURS, "of one drawn colour": tuple(generator.integers(0, 256, 3).tolist())}
    frames = {name: np.broadcast_to(np.reshape(colour, (3, 1, 1)), shape) for name, colour in colours.items()}
    frames |= {
        "noise": generator.integers(0, 256, shape),
        "checkerboard": 255 * (np.indices(shape).sum(axis=0) % 2),
        "a gradient across": across,
        "a gradient downwards": across.transpose(0, 2, 1),
        "half black, half white": np.where(across < 128, 0, 255),
    }
    darkest, brightest = _extreme_crops(images)
    frames |= {"the darkest crop": darkest, "the brightest crop": brightest}
    return {name: np.ascontiguousarray(frame).astype(np.uint8) for name, frame in frames.items()}


def unanswered_frames(engine: Engine, frames: Frames) -> tuple[str, ...]:
    """Names of the frames for which the engine gives NaN or infinity."""
    if _finite(engine, np.stack(list(frames.values()))):
        return ()
    return tuple(name for name, frame in frames.items() if not _finite(engine, frame[None]))


def _finite(engine: Engine, images: NDArray[np.uint8]) -> bool:
    try:
        return bool(np.isfinite(engine.logits(images)).all())
    except EngineError:  # an engine answers with finite logits, or raises this error
        return False


def _extreme_crops(images: AdversarialSet) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The darkest and the brightest square of a grid over all images, each magnified to a whole image."""
    size = images.image(0).shape[1]
    side = max(1, size // _PART)
    places = list(product(range(0, size - side + 1, side), repeat=2))
    best: list[tuple[float, NDArray[np.uint8]]] = []
    for batch in images.batches(256):
        sums = np.stack([batch[:, :, y : y + side, x : x + side].sum(axis=(1, 2, 3), dtype=np.int64) for y, x in places])
        for sign, flat in ((1, int(sums.argmin())), (-1, int(sums.argmax()))):
            place, index = divmod(flat, len(batch))
            y, x = places[place]
            best.append((sign * float(sums.flat[flat]), batch[index][:, y : y + side, x : x + side].copy()))
    crops = [min(best[start::2], key=lambda candidate: candidate[0])[1] for start in (0, 1)]
    positions = np.arange(size) * side // size
    return tuple(crop[:, positions][:, :, positions] for crop in crops)  # type: ignore[return-value]
