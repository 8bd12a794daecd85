"""The geometry of a threat model: random start, steepest step, projection, and rounding to 8 bit without leaving the ball.

All functions take float32 (N, 3, H, W) in [0, 1], work per image and stay in the unit box.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError

Bounds = tuple[Tensor, Tensor]


def start(images: Tensor, *, threat_model: ThreatModel, generator: torch.Generator) -> Tensor:
    """A uniformly random point of the ball around each image, clipped to the box."""
    if threat_model.norm == "linf":
        noise = torch.empty_like(images).uniform_(-threat_model.eps, threat_model.eps, generator=generator)
    else:
        direction = _unit(torch.empty_like(images).normal_(generator=generator))
        # The radius of a uniform point in a d-dimensional ball is u^(1/d), drawn per image.
        uniform = torch.empty(len(images), 1, 1, 1, device=images.device).uniform_(generator=generator)
        noise = direction * (threat_model.eps * uniform.pow(1 / images[0].numel()))
    return (images + noise).clamp_(0, 1)


def step(images: Tensor, gradient: Tensor, *, threat_model: ThreatModel, size: float | Tensor) -> Tensor:
    """Move by `size` in the direction in which a linear loss grows fastest in the threat model's norm.

    size: in pixel units, one for all images or one per image as (N, 1, 1, 1).
    """
    direction = gradient.sign() if threat_model.norm == "linf" else _unit(gradient)
    if isinstance(size, Tensor):
        return torch.addcmul(images, direction, size)
    return torch.add(images, direction, alpha=size)


def linf_bounds(images: Tensor, *, threat_model: ThreatModel) -> Bounds:
    """Smallest and largest value of each pixel in the linf ball and the box: two tensors of the images' shape."""
    return (images - threat_model.eps).clamp_(0, 1), (images + threat_model.eps).clamp_(0, 1)


def project(moved: Tensor, images: Tensor, *, threat_model: ThreatModel, bounds: Bounds | None = None) -> Tensor:
    """The nearest point of the ball around `images`, then of the box. The second step keeps the point in the ball.

    bounds: linf bounds of the images, for callers that project many times.
    """
    if threat_model.norm == "linf":
        return torch.clamp(moved, *(bounds or linf_bounds(images, threat_model=threat_model)))
    offset = moved - images
    norms = offset.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    inside: Tensor = images + offset * (threat_model.eps / norms.clamp_min(threat_model.eps))
    return inside.clamp_(0, 1)


def linear_gain(
    moved: Tensor, images: Tensor, gradient: Tensor, *, threat_model: ThreatModel, bounds: Bounds | None = None
) -> Tensor:
    """The largest increase (N,) of a linear function with this gradient from `moved` to any point of the ball.

    Under linf, both ball and box limit the point. Under l2 only the ball does, which gives at least as much. bounds: see
    `project`.
    """
    if threat_model.norm == "linf":
        lower, upper = bounds or linf_bounds(images, threat_model=threat_model)
        room = torch.where(gradient > 0, upper - moved, lower - moved)
    else:
        room = images - moved + threat_model.eps * _unit(gradient)
    return (gradient * room).flatten(1).sum(1)


def to_grid(perturbed: Tensor, images: Tensor, *, threat_model: ThreatModel) -> Tensor:
    """Round to uint8 so that |result - images| <= eps holds exactly in integers; `images` are uint8 (N, 3, H, W).

    Each value goes to the nearest of the 256 steps. If the result leaves an l2 ball, values that were rounded away from the
    clean image are moved back by one step, those with the smallest loss first, until the image is inside. If rounding to 0
    shortened an l2 perturbation, the length is given to the values nearest to their next step. Raises InvalidInputError if
    the ball contains no other point of the grid.
    """
    if threat_model.eps_255 < 1:
        raise InvalidInputError(
            f"eps {threat_model}: below 1/255 the 8-bit grid contains only the clean image; choose at least 1/255"
        )
    exact = perturbed.double() * 255 - images
    offset = exact.round()
    if threat_model.norm == "linf":
        bound = int(threat_model.eps_255)
        offset.clamp_(-bound, bound)
    else:
        limit = float(int(threat_model.eps_255**2))
        offset = _lengthen(_shrink(offset, exact, limit=limit), exact, images, limit=limit)
    return (images + offset).clamp_(0, 255).to(torch.uint8)


def kept_share(perturbed: Tensor, grid: Tensor, images: Tensor) -> Tensor:
    """Share of each perturbation's effect on a linear loss along it that is left on the grid: (N,), from 0 to 1.

    grid, images: uint8 (N, 3, H, W). 1 for an image that was not perturbed.
    """
    wanted = (perturbed.double() * 255 - images).flatten(1)
    stored = (grid.double() - images).flatten(1)
    whole = wanted.square().sum(1)
    return torch.where(whole > 0, (wanted * stored).sum(1) / whole.clamp_min(1e-12), 1.0).clamp_(0, 1)


def _shrink(offset: Tensor, exact: Tensor, *, limit: float) -> Tensor:
    """Reduce integers that were rounded up in magnitude by one until each row's sum of squares is at most `limit`."""
    flat, wanted = offset.flatten(1), exact.flatten(1)
    excess = flat.square().sum(1, keepdim=True) - limit
    overshoot = flat.abs() - wanted.abs()  # above 0 if rounding moved away from the clean image
    gain = torch.where(overshoot > 0, 2 * flat.abs() - 1, 0.0)
    order = overshoot.argsort(dim=1, descending=True, stable=True)
    reduction = gain.gather(1, order).cumsum(1)
    chosen = (reduction - gain.gather(1, order) < excess) & (gain.gather(1, order) > 0)
    back = torch.zeros_like(flat).scatter_(1, order, chosen.to(flat.dtype))
    shrunk = flat - back * flat.sign()
    # If float rounding made the perturbation itself too long, the values are truncated, which stays inside by construction.
    outside = shrunk.square().sum(1, keepdim=True) > limit
    truncated = wanted.trunc()
    scale = (limit / truncated.square().sum(1, keepdim=True).clamp_min(limit)).sqrt()
    result: Tensor = torch.where(outside, (truncated * scale).trunc(), shrunk).view_as(offset)
    return result


def _lengthen(offset: Tensor, exact: Tensor, images: Tensor, *, limit: float) -> Tensor:
    """Add steps until each row is about as long as before rounding; `limit` bounds the sum of squares.

    A step of a value from q to q + 1 gains the value's wanted size and costs 2q + 1 of the sum. Rounding already takes the
    steps that gain at least half of their cost. The next best ones follow here, as in the linear relaxation of the knapsack
    problem.
    """
    flat, wanted = offset.flatten(1), exact.flatten(1)
    cost = 2 * flat.abs() + 1
    direction = wanted.sign()
    stepped = images.flatten(1) + flat + direction
    gain = torch.where((stepped >= 0) & (stepped <= 255) & (flat * direction >= 0), wanted.abs() / cost, 0.0)
    room = wanted.square().sum(1, keepdim=True).clamp_max(limit) - flat.square().sum(1, keepdim=True)
    order = gain.argsort(dim=1, descending=True, stable=True)
    costs = cost.gather(1, order)
    chosen = (costs.cumsum(1) <= room) & (gain.gather(1, order) > 0)
    further = torch.zeros_like(flat).scatter_(1, order, chosen.to(flat.dtype))
    lengthened: Tensor = (flat + further * direction).view_as(offset)
    return lengthened


def _unit(tensor: Tensor) -> Tensor:
    norms: Tensor = tensor.flatten(1).norm(dim=1).clamp_min(1e-12)
    return torch.div(tensor, norms.view(-1, 1, 1, 1))
