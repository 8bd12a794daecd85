"""PGD on the source with the engine in the loop: of every point on the way, the one that the engine likes least is kept.

A stored set keeps what fools the source; this keeps what fools the engine. Madry et al. 2018, https://arxiv.org/abs/1706.06083.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer import ball
from skinaudit.trainer.attacks.pgd import input_gradient
from skinaudit.trainer.probes import STEPS, Pixels, Target, Ticks, as_pixels, lead, torch_generator

GATED = True


def search(
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
) -> tuple[Pixels, int]:
    """One query a step, at the step's point rounded to 8 bit; see skinaudit.trainer.probes and skinaudit.audit.probes."""
    clean, grid = as_pixels(model, images), torch.from_numpy(images)
    seeded = torch_generator(generator, model)
    drawn = ball.start(clean, threat_model=threat_model, generator=seeded)
    moved = drawn if start is None else as_pixels(model, start)
    steps = max(1, min(queries, STEPS) - 1)
    size = 2.5 * threat_model.eps / steps
    best, best_lead = images.copy(), np.full(len(images), np.inf, np.float32)
    active, asked = np.arange(len(images)), 0
    for number in range(steps + 1):
        points = ball.to_grid(moved[active].cpu(), grid[active], threat_model=threat_model).numpy()
        found = lead(target(points), labels[active])
        asked += len(active)
        better = found < best_lead[active]
        best[active[better]], best_lead[active[better]] = points[better], found[better]
        going = best_lead[active] >= 0
        tick(int((~going).sum()))
        active = active[going]
        if number == steps or len(active) == 0:
            break
        truth = torch.from_numpy(labels[active]).to(clean.device)
        gradient, _, _ = input_gradient(model, moved[active], truth)
        stepped = ball.step(moved[active], gradient, threat_model=threat_model, size=size)
        moved[active] = ball.project(stepped, clean[active], threat_model=threat_model)
    tick(len(active))
    return best, asked
