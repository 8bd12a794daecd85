"""Moves to a decision boundary: the nearest point in the pixel box at which a linear function of the image is 0."""

from __future__ import annotations

import torch
from torch import Tensor

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer import ball

_NEWTON = 12
"""Iterations of Newton's method on a concave piecewise linear function. It finds the exact root, usually after 3 or 4."""
_TINY = 1e-12


def to_hyperplane(points: Tensor, weight: Tensor, offset: Tensor, *, norm: str) -> Tensor:
    """The shortest move (N, 3, H, W) in the norm, inside the box, after which `weight` times the move is -`offset`.

    weight: (N, 3, H, W). offset: (N,), the function's value at the points (N, 3, H, W). If the box contains no such point,
    the move goes as far as it can.
    """
    slope, wanted = weight.flatten(1), offset.abs()
    toward = -offset.sign().view(-1, 1) * slope.sign()
    flat = points.flatten(1)
    room = torch.where(toward > 0, 1 - flat, flat)
    size = slope.abs()
    unit = torch.ones_like(size) if norm == "linf" else size
    reach = torch.zeros_like(wanted)
    for _ in range(_NEWTON):  # each value moves by min(reach * unit, room)
        free = reach.view(-1, 1) * unit < room
        covered = torch.where(free, reach.view(-1, 1) * unit, room).mul(size).sum(1)
        missing = (wanted - covered).clamp_min(0)
        if not bool(missing.any()):
            break
        reach = reach + missing / (free * unit * size).sum(1).clamp_min(_TINY)
    moves: Tensor = toward * torch.minimum(reach.view(-1, 1) * unit, room)
    return moves.view_as(points)


def length(moves: Tensor, *, norm: str) -> Tensor:
    """Norm (N,) of each move (N, 3, H, W)."""
    lengths: Tensor = moves.flatten(1).norm(dim=1, p=torch.inf if norm == "linf" else 2)
    return lengths


def stretched(points: Tensor, images: Tensor, *, threat_model: ThreatModel) -> Tensor:
    """Scale the perturbations of `points` (N, 3, H, W) to use all of eps, inside the box."""
    moves = points - images
    share = threat_model.eps / length(moves, norm=threat_model.norm).clamp_min(_TINY)
    return ball.project(images + moves * share.view(-1, 1, 1, 1), images, threat_model=threat_model)
