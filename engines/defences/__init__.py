"""Transformations of an image in front of a model that try to remove adversarial perturbations, one per file.

The file's name is the name of the defence on the command line, with `-` for `_`. A file defines `defend(image, *, rng,
examples, **settings) -> image`, its SETTINGS with their defaults, and RANDOM, which says whether it uses random numbers. A
defence that is linear in the image also defines `factors(size, *, rng, **settings)`, for attacks that need its gradient. To
add a defence, add a file; nothing else has to change.
"""

from __future__ import annotations

import importlib
import pkgutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.named_settings import check_known, parse_named
from skinaudit.errors import InvalidInputError, choose_one

Image = NDArray[np.uint8]
Factors = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Defence:
    """One defence with its settings. examples: training images, uint8 (M, 3, H, W), for the defences that need some."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    examples: NDArray[np.uint8] | None = None

    @property
    def random(self) -> bool:
        """Whether it uses random numbers, so that two calls may give different images."""
        return bool(_module(self.name).RANDOM)

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        """Return the transformed image, uint8 (3, H, W), that the model sees."""
        defended: Image = _module(self.name).defend(image, rng=rng, examples=self.examples, **self.settings)
        return defended

    def factors(self, size: int, rng: np.random.Generator) -> Factors | None:
        """For a linear defence the matrices A and B, both (H, H): each channel x becomes A x B^T. None for others."""
        module = _module(self.name)
        if not hasattr(module, "factors"):
            return None
        drawn: Factors = module.factors(size, rng=rng, **self.settings)
        return drawn

    def fixed(self, image: Image, *, draw: int) -> Image:
        """Transform the image with random numbers that depend only on its pixels and on `draw`, not on the batch."""
        return self(image, np.random.default_rng([zlib.crc32(image.tobytes()), draw]))


def names() -> tuple[str, ...]:
    """Names of the available defences."""
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


def parse(text: str, *, examples: NDArray[np.uint8] | None = None) -> Defence:
    """The defence for `NAME` or `NAME:key=value,...`; raises InvalidInputError for unknown names and settings."""
    name, given = parse_named(text, kind="defence", defaults_of=_defaults)
    check_known(set(given), kind="defence", name=name, defaults=_defaults(name))
    return Defence(name, {**_defaults(name), **given}, examples)


def _defaults(name: str) -> Mapping[str, Any]:
    if name not in names():
        raise InvalidInputError(choose_one("defence", name, names()))
    defaults: Mapping[str, Any] = _module(name).SETTINGS
    return defaults


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
