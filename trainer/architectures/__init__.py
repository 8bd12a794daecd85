"""Architectures of classifiers, one per file. The file's name is the name on the command line.

An architecture file defines `build(width, classes) -> nn.Module`: from normalised images float32 (N, 3, size, size) to
logits (N, classes); `width` multiplies the channels. Optional: TORCHVISION = True if torchvision has ImageNet weights for
it, and LEARNING_RATE if the learning rate of the default recipe does not train it. To add an architecture, add a file;
nothing else has to change.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from skinaudit.errors import InvalidInputError, choose_one

if TYPE_CHECKING:
    from torch import nn


class Build(Protocol):
    """A model with fresh weights from torch's global generator."""

    def __call__(self, width: float, classes: int) -> nn.Module: ...


@dataclass(frozen=True)
class Architecture:
    """The contents of an architecture file. learning_rate: None if the recipe's learning rate works."""

    build: Build
    torchvision: bool
    learning_rate: float | None


def names() -> tuple[str, ...]:
    """Names of the available architectures."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def load(name: str) -> Architecture:
    """The architecture with this name; raises InvalidInputError, which lists all names, for an unknown one."""
    if name not in names():
        raise InvalidInputError(choose_one("arch", name, names()))
    module = importlib.import_module(f"{__name__}.{name}")
    return Architecture(module.build, getattr(module, "TORCHVISION", False), getattr(module, "LEARNING_RATE", None))
