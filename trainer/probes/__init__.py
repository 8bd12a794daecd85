"""Fresh attacks on an engine that know its source model, one a file; the file's name is the probe's on the command line.

The search follows the source's gradients and asks the engine at every step. Its file defines `search(model, target, images,
labels, *, start, threat_model, generator, tick, queries) -> (images, queries)`, which with the model given is what
skinaudit.audit.probes calls a Search, and GATED: whether the same attack on the reference is a fair comparison.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skinaudit.trainer.evaluate import device_of, to_pixels
from skinaudit.trainer.models import folded

Pixels = NDArray[np.uint8]
Target = Callable[[Pixels], NDArray[np.float32]]
"""The engine: uint8 (B, 3, H, W) -> logits float32 (B, classes)."""

Ticks = Callable[[int], None]
"""Told how many images were settled."""

STEPS = 100
"""Steps at most: beyond, projected gradients find next to nothing."""


def names() -> tuple[str, ...]:
    """The probes that are there, by file."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load(name: str, model: nn.Module) -> tuple[Callable[..., tuple[Pixels, int]], bool]:
    """The search of a probe with its source model given (frozen here), and whether it is GATED."""
    module = importlib.import_module(f"{__name__}.{name}")
    gated: bool = module.GATED
    return partial(module.search, folded(model)), gated


def as_pixels(model: nn.Module, images: Pixels) -> torch.Tensor:
    """uint8 (N, 3, H, W) as float32 in [0, 1] where the model is."""
    return to_pixels(images, device=device_of(model))


def lead(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """By how much the true class leads the best other one, float32 (N,)."""
    rows = np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    return np.asarray(logits[rows, labels] - others.max(axis=1))


def torch_generator(generator: np.random.Generator, model: nn.Module) -> torch.Generator:
    """A generator of torch whose seed is drawn from one of numpy."""
    return torch.Generator(device_of(model)).manual_seed(int(generator.integers(2**31)))
