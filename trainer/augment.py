"""Random changes of training images that keep the diagnosis. Each is a pure function of images and generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from skinaudit.trainer.computing import put

_ZOOM = 1.25
_SHIFT = 0.1


def none(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """The images unchanged."""
    return images


def flips(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Flip and rotate each image (N, 3, S, S) by a random symmetry of the square: a lesion has no up and no left."""
    kinds = put(torch.randint(8, (len(images),), generator=generator), images.device).view(-1, 1, 1, 1)
    turned = torch.where(kinds >= 4, images.flip(3), images)
    turned = torch.where(kinds % 2 == 1, turned.rot90(1, (2, 3)), turned)
    # `where` may keep the memory order of rot90
    return torch.where(kinds % 4 >= 2, turned.rot90(2, (2, 3)), turned).contiguous()


def affine(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Flips; for half of the images, float32 (N, 3, S, S), also any angle, a zoom of 0.8 to 1.25 and shifts up to S/10.

    Bilinear, with a mirrored border. The other half keeps its pixels, because interpolation blurs and deployed images are
    not blurred.
    """
    turned = flips(images, generator=generator)
    warped = (torch.rand(len(images), generator=generator) < 0.5).nonzero().squeeze(1)
    count = len(warped)
    if not count:
        return turned
    angle = torch.rand(count, generator=generator) * 2 * math.pi
    zoom = _ZOOM ** (2 * torch.rand(count, generator=generator) - 1)
    shift = _SHIFT * 2 * (2 * torch.rand(count, 2, generator=generator) - 1)  # a grid's coordinates go from -1 to 1
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    rows = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1).view(count, 2, 3)
    chosen, rows = put(warped, images.device), put(rows, images.device)
    grid = functional.affine_grid(rows, [count, *images.shape[1:]], align_corners=False)
    turned[chosen] = functional.grid_sample(turned[chosen], grid, padding_mode="reflection", align_corners=False)
    return turned


AUGMENTS: Mapping[str, Callable[..., Tensor]] = {"none": none, "flips": flips, "affine": affine}
"""The values of `--augment`."""
