"""Square Attack: random search with shrinking squares (Andriushchenko et al. 2020, https://arxiv.org/abs/1912.00049).

The images are always on the 8-bit grid, so the images that the search evaluates are the ones that it returns. The sizes of
the squares follow the schedule of the authors' code, scaled to the number of queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.logits import Indices, lead
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.audit.evidence.probes import Pixels, Target

SETTINGS: dict[str, Any] = {"queries": 500, "share": 0.8}

_Offset = NDArray[np.float32]
"""Offset from the clean image in 8-bit steps, (N, 3, H, W)."""

_HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Iterations, for a budget of ten thousand, after which the share of pixels in a square is halved."""


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
    share: float = 0.8,
) -> tuple[Pixels, int]:
    """Make up to `queries` proposals per image and keep each that lowers the lead of the true class.

    share: of an image's pixels that the first square covers. An image that is classified wrongly leaves the search.
    See skinaudit.audit.evidence.probes.Search for the other parameters.
    """
    clean = images.astype(np.float32)
    propose = _linf if threat_model.norm == "linf" else _l2
    first_offset = (_stripes if threat_model.norm == "linf" else _tiles)(clean.shape, threat_model, generator)
    best = inside(clean, first_offset, threat_model) if start is None else start.astype(np.float32)
    best_lead = lead(target(best.astype(np.uint8)), labels)
    spent, active = len(images), np.flatnonzero(best_lead >= 0)
    tick(len(images) - len(active))
    for number in range(1, queries):
        side = _side(share, number, queries, images.shape[2], threat_model.norm)
        if len(active) == 0:
            break
        offset = propose(best[active] - clean[active], active, len(images), side, threat_model, generator)
        proposal = inside(clean[active], offset, threat_model)
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


def _side(share: float, number: int, queries: int, size: int, norm: str) -> int:
    scaled = number / queries * 10_000
    covered = share / 2 ** sum(scaled > step for step in _HALVED)
    side = max(1, min(size - 1, round(math.sqrt(covered) * size)))
    return side if norm == "linf" else min(size - 1 - (size % 2), max(3, side) | 1)


def inside(clean: _Offset, offset: _Offset, threat_model: ThreatModel) -> _Offset:
    """The clean images plus the offset, rounded to 8-bit values inside the ball and the box."""
    if threat_model.norm == "linf":
        return np.asarray(np.clip(clean + np.rint(offset), 0, 255))
    exact = np.clip(clean + offset * _shrinking(offset, threat_model), 0, 255) - clean
    rounded = np.rint(exact)
    for share in (0.95, 0.9, 0.85, 0.8):  # rounding up may leave the ball; then a slightly smaller offset is tried
        outside = (rounded.astype(np.float64) ** 2).sum(axis=(1, 2, 3)) > int(threat_model.eps_255**2)
        rounded[outside] = np.rint(share * exact[outside])
    outside = (rounded.astype(np.float64) ** 2).sum(axis=(1, 2, 3)) > int(threat_model.eps_255**2)
    rounded[outside] = np.trunc(exact[outside] * (1 - 1e-6))
    return np.asarray(clean + rounded)


def _shrinking(offset: _Offset, threat_model: ThreatModel) -> _Offset:
    norms = np.sqrt((offset**2).sum(axis=(1, 2, 3), keepdims=True))
    return np.asarray(np.minimum(1.0, float(threat_model.eps_255) / np.maximum(norms, 1e-12)), np.float32)


def _stripes(shape: tuple[int, ...], threat_model: ThreatModel, generator: np.random.Generator) -> _Offset:
    """Vertical stripes of one pixel, a random sign for each stripe and colour."""
    count, colours, height, width = shape
    signs = generator.choice(np.array([-1.0, 1.0]), (count, colours, 1, width))
    stripes = np.float32(int(threat_model.eps_255)) * signs.astype(np.float32)
    return np.broadcast_to(stripes, (count, colours, height, width))


def _linf(
    offset: _Offset, active: Indices, count: int, side: int, threat_model: ThreatModel, generator: np.random.Generator
) -> _Offset:
    """A square of one sign for each colour, at the full radius. Random numbers are drawn for all `count` images."""
    colours, size = offset.shape[1:3]
    corners = generator.integers(0, size - side + 1, (count, 2))
    signs = generator.choice(np.array([-1.0, 1.0]), (count, colours))
    for image_offset, index in zip(offset, active, strict=True):
        row, column = corners[index]
        image_offset[:, row : row + side, column : column + side] = int(threat_model.eps_255) * signs[index][:, None, None]
    return offset


def _tiles(shape: tuple[int, ...], threat_model: ThreatModel, generator: np.random.Generator) -> _Offset:
    """Bumps on a five by five grid, scaled to the radius."""
    count, colours, size, _ = shape
    side = max(3, size // 5)
    signs = generator.choice(np.array([-1.0, 1.0]), (count, colours, 5, 5))
    offset = np.zeros(shape, np.float32)
    for row in range(5):
        for column in range(5):
            if (row + 1) * side <= size and (column + 1) * side <= size:
                rows, columns = slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)
                offset[:, :, rows, columns] = _bump(side, turned=False) * signs[:, :, row, column, None, None]
    norms = np.sqrt((offset**2).sum(axis=(1, 2, 3), keepdims=True))
    return np.asarray(offset / norms * float(threat_model.eps_255))


def _l2(
    offset: _Offset, active: Indices, count: int, side: int, threat_model: ThreatModel, generator: np.random.Generator
) -> _Offset:
    """Move the norm of two windows, and the unused part of the radius, into one of them as a bump."""
    colours, size = offset.shape[1:3]
    corners = generator.integers(0, size - side + 1, (count, 4))
    signs = generator.choice(np.array([-1.0, 1.0]), (count, colours, 1, 1))
    turned = generator.random(count) > 0.5
    squared = float(threat_model.eps_255) ** 2
    for image_offset, index in zip(offset, active, strict=True):
        row, column, other_row, other_column = corners[index]
        receiving = (slice(None), slice(row, row + side), slice(column, column + side))
        emptied = (slice(None), slice(other_row, other_row + side), slice(other_column, other_column + side))
        windows = np.zeros((size, size), bool)
        windows[receiving[1:]] = windows[emptied[1:]] = True
        spare = max(0.0, squared - float((image_offset**2).sum())) / colours
        budget = np.sqrt(spare + (image_offset[:, windows] ** 2).sum(axis=1))[:, None, None]
        window = image_offset[receiving]
        old = window / (1e-10 + np.sqrt((window**2).sum(axis=(1, 2), keepdims=True)))
        new = _bump(side, turned=bool(turned[index])) * signs[index] + old
        image_offset[:, windows] = 0
        image_offset[receiving] = new / np.sqrt((new**2).sum(axis=(1, 2), keepdims=True)) * budget
    return offset


def _bump(side: int, *, turned: bool) -> NDArray[np.float64]:
    """Two halves of opposite sign, each falling off from its middle, of norm 1."""
    half = side // 2
    bump = np.concatenate([_hill(half, side), -_hill(side - half, side)])
    bump /= np.sqrt((bump**2).sum())
    return bump.T if turned else bump


def _hill(rows: int, columns: int) -> NDArray[np.float64]:
    hill = np.zeros((rows, columns))
    row, column = rows // 2, columns // 2
    for ring in range(max(row, column) + 1):
        top, left = max(row - ring, 0), max(column - ring, 0)
        hill[top : row + ring + 1, left : column + ring + 1] += 1 / (ring + 1) ** 2
    return np.asarray(hill / np.sqrt((hill**2).sum()))
