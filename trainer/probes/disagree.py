"""Points where the engine is wrong while its source is right, looked for along the source's decision boundary.

The goal is that of DIVA (Hao et al. 2022, https://arxiv.org/abs/2204.10933). DIVA follows gradients of both models; of an
engine there are none, so the search walks to where the source's lead is just above 0 and asks the engine at every step. It
cannot find anything on an engine that agrees with its source everywhere, whichever of the two is more robust.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer import ball
from skinaudit.trainer.attacks.pgd import input_gradient
from skinaudit.trainer.evaluate import logits_of
from skinaudit.trainer.probes import STEPS, Pixels, Target, Ticks, as_pixels, lead, torch_generator

GATED = False
"""By construction the reference, which is the source, loses nothing: the share found is a figure, not a drop."""

_NEAR = 0.02
"""The lead of the source's true logit to hold; rounding to 8 bit moves it by about as much."""


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
    """One query a step; only points that the source names rightly count. See skinaudit.trainer.probes."""
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
        right = lead(logits_of(model, points), labels[active]) > 0
        better = right & (found < best_lead[active])
        best[active[better]], best_lead[active[better]] = points[better], found[better]
        going = best_lead[active] >= 0
        tick(int((~going).sum()))
        active = active[going]
        if number == steps or len(active) == 0:
            break
        truth = torch.from_numpy(labels[active]).to(clean.device)
        gradient, _, wrong_lead = input_gradient(model, moved[active], truth)
        outward = (wrong_lead < -_NEAR).view(-1, 1, 1, 1)  # still right by more than the lead to hold: on to the boundary
        stepped = ball.step(moved[active], torch.where(outward, gradient, -gradient), threat_model=threat_model, size=size)
        moved[active] = ball.project(stepped, clean[active], threat_model=threat_model)
    tick(len(active))
    return best, asked
