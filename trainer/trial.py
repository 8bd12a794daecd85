"""A run's model and its first test images, attacked without storing a set: directly, or through an input defence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.manifest import read_run
from skinaudit.artifacts.run_sets import open_clean_set
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import attacks, ball
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.defended import Defended, Transformation
from skinaudit.trainer.evaluate import device_of, slices, to_pixels
from skinaudit.trainer.generate import AttackPlan
from skinaudit.trainer.models import folded

_BATCH = 50


@dataclass(frozen=True, eq=False)
class Subjects:
    """The run's model, folded, and its first test images: uint8 (N, 3, H, W) with labels int64 (N,)."""

    model: nn.Module
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    synthetic: bool


def subjects(run: Path, *, images: int) -> Subjects:
    """The run's model and its first test images; raises InvalidInputError for a run that cannot be read."""
    clean = open_clean_set(run, read_run(run))
    count = min(images, len(clean))
    if count == 0:
        raise InvalidInputError(f"{run}: has no test images")
    first = np.ascontiguousarray(next(clean.batches(len(clean)))[:count])
    return Subjects(folded(load_run_model(run)), first, clean.labels[:count], clean.info.synthetic)


def crafted(
    given: Subjects, plan: AttackPlan, *, seed: int, defence: Transformation | None = None, draws: int = 1,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:  # fmt: skip
    """The images attacked through the defence, or without one: uint8 like the images, in the ball, on the 8-bit grid.

    draws: for a defence with random numbers, the number of copies whose mean gradient each step follows.
    """
    model = given.model if defence is None else Defended(given.model, defence, draws=draws, seed=seed).eval()
    attack, settings = attacks.load(plan.attack, plan.settings)
    generator = torch.Generator(device_of(model)).manual_seed(seed)
    parts = []
    for part in slices(len(given.labels), _BATCH):
        original = given.images[part]
        pixels, labels = to_pixels(original, device=device_of(model)), torch.from_numpy(given.labels[part])
        perturbed = attack(
            model, pixels, labels.to(pixels.device), threat_model=plan.threat_model, generator=generator, **settings
        )
        grid = ball.to_grid(perturbed.detach().cpu(), torch.from_numpy(original), threat_model=plan.threat_model)
        parts.append(grid.numpy())
        if progress is not None:
            progress(part.stop, len(given.labels))
    return np.concatenate(parts)
