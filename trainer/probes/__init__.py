"""Fresh attacks on an engine that use its source model, one per file. The file's name is the name on the command line.

The search follows the source's gradients and queries the engine at every step. Its file defines `search(model, target,
images, labels, *, start, threat_model, generator, tick, queries) -> (images, queries)`, which becomes a Search of
skinaudit.audit.evidence.probes once the model is given, and GATED: whether the same attack on the reference is a fair
comparison.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skinaudit.artifacts.logits import lead
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer import ball
from skinaudit.trainer.attacks.pgd import input_gradient
from skinaudit.trainer.evaluate import device_of, to_pixels
from skinaudit.trainer.models import folded
from skinaudit.true_fp32 import true_fp32

Pixels = NDArray[np.uint8]
Target = Callable[[Pixels], NDArray[np.float32]]
"""The engine: uint8 (B, 3, H, W) -> logits float32 (B, classes)."""

Ticks = Callable[[int], None]
"""Called with the number of finished images."""

STEPS = 100
"""Largest number of steps; further ones find almost nothing with projected gradients."""


def names() -> tuple[str, ...]:
    """Names of the available probes."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load(name: str, model: nn.Module) -> tuple[Callable[..., tuple[Pixels, int]], bool]:
    """The search of a probe with its source model bound (and frozen), and whether it is GATED."""
    module = importlib.import_module(f"{__name__}.{name}")
    gated: bool = module.GATED
    return partial(module.search, folded(model)), gated


@true_fp32()
def walk(
    model: nn.Module,
    target: Target,
    images: Pixels,
    labels: NDArray[np.int64],
    *,
    start: Pixels | None,
    threat_model: ThreatModel,
    generator: np.random.Generator,
    tick: Ticks,
    queries: int,
    counts: Callable[[Pixels, NDArray[np.int64]], NDArray[np.bool_]],
    direction: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Pixels, int]:
    """Steps along the source's gradient, each with one query of the target at the step's point, rounded to 8 bit.

    counts: which of the points may be kept. direction: computes the step's direction from the gradient (N, 3, H, W) of the
    source's loss and the lead (N,) of a wrong logit of the source. Of the points that count, the one with the worst answer
    of the target is kept. An image leaves the walk when the target misclassifies it. Other parameters: see
    skinaudit.audit.evidence.probes.Search.
    """
    device = device_of(model)
    clean, grid = to_pixels(images, device=device), torch.from_numpy(images)
    seeded = torch.Generator(device).manual_seed(int(generator.integers(2**31)))
    drawn = ball.start(clean, threat_model=threat_model, generator=seeded)
    moved = drawn if start is None else to_pixels(start, device=device)
    steps = max(1, min(queries, STEPS) - 1)
    best, best_lead = images.copy(), np.full(len(images), np.inf, np.float32)
    active, spent = np.arange(len(images)), 0
    for number in range(steps + 1):
        points = ball.to_grid(moved[active].cpu(), grid[active], threat_model=threat_model).numpy()
        leads = lead(target(points), labels[active])
        spent += len(active)
        better = counts(points, labels[active]) & (leads < best_lead[active])
        best[active[better]], best_lead[active[better]] = points[better], leads[better]
        going = best_lead[active] >= 0
        tick(int((~going).sum()))
        active = active[going]
        if number == steps or len(active) == 0:
            break
        truth = torch.from_numpy(labels[active]).to(device)
        gradient, _, wrong_lead = input_gradient(model, moved[active], truth)
        size = 2.5 * threat_model.eps / steps
        stepped = ball.step(moved[active], direction(gradient, wrong_lead), threat_model=threat_model, size=size)
        moved[active] = ball.project(stepped, clean[active], threat_model=threat_model)
    tick(len(active))
    return best, spent
