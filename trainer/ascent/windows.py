"""Square Attack under l2: a window of the perturbation gives its length to another window (Andriushchenko et al. 2020).

https://arxiv.org/abs/1912.00049, algorithm 3. In each query all images of a call use the same window positions, as in
AutoAttack.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer import ball

_LEAST = 3
"""Smallest side of a window, in pixels."""
_TINY = 1e-10


def first_windows(images: Tensor, *, threat_model: ThreatModel, generator: torch.Generator) -> Tensor:
    """The images (N, 3, H, W) at the full radius: a bump of random sign in each tile, a fifth of the side wide."""
    size = max(_LEAST, images.shape[2] // 5)
    moves = torch.zeros_like(images)
    for row in range(0, images.shape[2] - size + 1, size):
        for column in range(0, images.shape[3] - size + 1, size):
            moves[:, :, row : row + size, column : column + size] = _bump(size, images) * _signs(images, generator)
    return _at_radius(moves, images, threat_model)


def moved_windows(
    best: Tensor, images: Tensor, share: float, *, threat_model: ThreatModel, generator: torch.Generator
) -> Tensor:
    """A proposal: one window gets a new bump, another one is set to 0. share: of the pixels in a window."""
    sides = images.shape[2:]
    size = min(*sides, max(_LEAST, round((share * sides[0] * sides[1]) ** 0.5)) | 1)
    moves = best - images
    gets, gives = (_window(sides, size, generator, images.device) for _ in range(2))
    union = torch.zeros(1, 1, *sides, dtype=torch.bool, device=images.device)
    for rows, columns in (gets, gives):
        union[..., rows, columns] = True
    old = moves[:, :, gets[0], gets[1]]
    bump = _bump(size, images) * _signs(images, generator) + old / (_length(old, (2, 3)) + _TINY)
    unspent = (threat_model.eps**2 - _length(moves, (1, 2, 3)).square()).clamp_min(0) / images.shape[1]
    budget = (unspent + _length(moves * union, (2, 3)).square()).sqrt()
    moves[:, :, gives[0], gives[1]] = 0
    moves[:, :, gets[0], gets[1]] = bump / (_length(bump, (2, 3)) + _TINY) * budget
    return _at_radius(moves, images, threat_model)


def _window(sides: torch.Size, size: int, generator: torch.Generator, device: torch.device) -> tuple[slice, slice]:
    firsts = (int(torch.randint(side - size + 1, (1,), generator=generator, device=device)) for side in sides)
    rows, columns = (slice(first, first + size) for first in firsts)
    return rows, columns


def _bump(size: int, like: Tensor) -> Tensor:
    """Two halves of opposite sign, each a pyramid with falling steps: (size, size), length 1, vertical or horizontal."""
    half = size // 2
    bump = torch.zeros(size, size, device=like.device, dtype=like.dtype)
    for side, first, length in ((1.0, 0, half), (-1.0, half, size - half)):
        for ring in range(max(1, min(length, size) // 2 + 1)):
            rows = slice(first + min(ring, length - 1), max(first + length - ring, first + min(ring, length - 1) + 1))
            bump[rows, ring : max(size - ring, ring + 1)] += side / (ring + 1) ** 2
    unit: Tensor = bump / (bump.norm() + _TINY)
    return unit


def _signs(images: Tensor, generator: torch.Generator) -> Tensor:
    """-1 or 1 for each image and channel: (N, 3, 1, 1)."""
    drawn = torch.randint(2, (*images.shape[:2], 1, 1), generator=generator, device=images.device)
    return drawn.to(images.dtype) * 2 - 1


def _length(moves: Tensor, axes: tuple[int, ...]) -> Tensor:
    return moves.square().sum(axes, keepdim=True).sqrt()


def _at_radius(moves: Tensor, images: Tensor, threat_model: ThreatModel) -> Tensor:
    scaled = images + moves / (_length(moves, (1, 2, 3)) + _TINY) * threat_model.eps
    return ball.project(scaled, images, threat_model=threat_model)
