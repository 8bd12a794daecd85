"""Architectures of classifiers, one a file; the file's name is the architecture's name on the command line.

An architecture file defines `build(width, classes) -> nn.Module`: from normalised images float32 (N, 3, size, size) to
logits (N, classes); `width` multiplies the channels. It may also define TORCHVISION = True, where torchvision has ImageNet
weights for it, and LEARNING_RATE, where the rate of the default recipe does not train it. Nothing else needs to change when
a file is added.
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
    """The architectures that are there, by file."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def load(name: str) -> Architecture:
    """The architecture of that name; raises InvalidInputError, listing all, for another name."""
    if name not in names():
        raise InvalidInputError(choose_one("arch", name, names()))
    module = importlib.import_module(f"{__name__}.{name}")
    return Architecture(module.build, getattr(module, "TORCHVISION", False), getattr(module, "LEARNING_RATE", None))
