"""Fresh attacks on an opened engine, one per file. The file's name is the probe's name on the command line.

A probe sees only answers: no gradients, no weights, no torch. Its file defines `search(target, images, labels, *, start,
threat_model, generator, tick, **settings) -> (images, queries)` and SETTINGS, its settings with their defaults. To add a
probe, add a file; nothing else has to change.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError, choose_one

Pixels = NDArray[np.uint8]
Logits = NDArray[np.float32]
Target = Callable[[Pixels], Logits]
"""The attacked function: uint8 (B, 3, H, W) -> logits float32 (B, classes), for any B."""


class Search(Protocol):
    """Look for images in the ball around each of `images` that the target classifies wrongly.

    images: uint8 (N, 3, H, W); labels: int64 (N,). start: images in the ball to start from, or None for
    the probe's own start. generator: source of all random numbers. Each image takes the same number of them, whatever
    happens to the others, so that two targets see the same random draws. tick: called with the number of finished images.
    Returns for each image the worst image found, uint8 (N, 3, H, W), inside the ball in integers, and the number of images
    that the target saw.
    """

    def __call__(
        self,
        target: Target,
        images: Pixels,
        labels: NDArray[np.int64],
        *,
        start: Pixels | None,
        threat_model: ThreatModel,
        generator: np.random.Generator,
        tick: Callable[[int], None],
        **settings: Any,
    ) -> tuple[Pixels, int]: ...


def names() -> tuple[str, ...]:
    """Names of the available probes."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def load(name: str) -> tuple[Search, Mapping[str, Any]]:
    """The search of a probe and its settings with their defaults; raises InvalidInputError for an unknown name."""
    if name not in names():
        raise InvalidInputError(choose_one("probe", name, names()))
    module = importlib.import_module(f"{__name__}.{name}")
    search: Search = module.search
    settings: Mapping[str, Any] = module.SETTINGS
    return search, settings
