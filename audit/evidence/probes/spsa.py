"""SPSA: the gradient of the lead from random differences (Uesato et al. 2018, https://arxiv.org/abs/1802.05666).

A second opinion besides the random search of `square`: it follows a gradient, so it fails in other situations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.logits import lead
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.audit.evidence.probes import Pixels, Target
from skinaudit.audit.evidence.probes.square import inside

SETTINGS: dict[str, Any] = {"queries": 500, "directions": 12}


def search(
    target: Target,
    images: Pixels,
    labels: NDArray[np.int64],
    *,
    start: Pixels | None,
    threat_model: ThreatModel,
    generator: np.random.Generator,
    tick: Callable[[int], None],
    queries: int = 500,
    directions: int = 12,
) -> tuple[Pixels, int]:
    """Step down an estimated gradient of the true class's lead; for each image the best point seen is kept.

    directions: number of random sign patterns of one 8-bit step per pixel; the lead is measured on both sides of each. One
    step costs 2 directions + 1 queries, and an image costs at most `queries`. See skinaudit.audit.evidence.probes.Search.
    """
    clean = images.astype(np.float32)
    best = clean.copy() if start is None else start.astype(np.float32)
    best_lead = lead(target(best.astype(np.uint8)), labels)
    place, average = best.copy(), np.zeros_like(clean)
    spent, active = len(images), np.flatnonzero(best_lead >= 0)
    tick(len(images) - len(active))
    steps = max(1, (queries - 1) // (2 * directions + 1))
    size = np.float32(2.5 * float(threat_model.eps_255) / steps)
    for _ in range(steps):
        if len(active) == 0:
            break
        gradient = np.zeros_like(clean[active])
        for _ in range(directions):
            signs = generator.choice(np.array([-1, 1], np.float32), clean.shape)[active]
            sides = [np.clip(np.rint(place[active] + turn * signs), 0, 255).astype(np.uint8) for turn in (1, -1)]
            plus, minus = (lead(target(side), labels[active]) for side in sides)
            gradient += (plus - minus).astype(np.float32)[:, None, None, None] * signs
        spent += 2 * directions * len(active)
        average[active] = 0.75 * average[active] + 0.25 * gradient / directions
        place[active] = _step(place[active], clean[active], average[active], size, threat_model)
        proposal = inside(clean[active], place[active] - clean[active], threat_model)
        proposal_lead = lead(target(proposal.astype(np.uint8)), labels[active])
        spent += len(active)
        better = proposal_lead < best_lead[active]
        best[active[better]] = proposal[better]
        best_lead[active[better]] = proposal_lead[better]
        going = best_lead[active] >= 0
        tick(int((~going).sum()))
        active = active[going]
    tick(len(active))
    return best.astype(np.uint8), spent


def _step(
    place: NDArray[np.float32],
    clean: NDArray[np.float32],
    gradient: NDArray[np.float32],
    size: np.float32,
    threat_model: ThreatModel,
) -> NDArray[np.float32]:
    """One step down, projected into ball and box. Not rounded to the grid, so that steps below half a value add up."""
    if threat_model.norm == "linf":
        radius = math.floor(threat_model.eps_255)
        moved = np.clip(place - size * np.sign(gradient), clean - radius, clean + radius)
        return np.asarray(np.clip(moved, 0, 255))
    norms = np.sqrt((gradient**2).sum(axis=(1, 2, 3), keepdims=True))
    offset = place - size * gradient / np.maximum(norms, 1e-12) - clean
    length = np.sqrt((offset**2).sum(axis=(1, 2, 3), keepdims=True))
    scaled = offset * np.minimum(1.0, float(threat_model.eps_255) / np.maximum(length, 1e-12))
    return np.asarray(np.clip(clean + scaled, 0, 255), np.float32)
