"""Ranges of the channels of a model in training, and the scales that equalise them (Nagel et al. 2019).

https://arxiv.org/abs/1906.04721
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

_OUTLIERS = 0.01
"""Share of the images that is left out as outliers, as in skinaudit.export.outliers.
"""
_SMALLEST = 2.0**-8


def usual(peaks: Sequence[Tensor]) -> Tensor:
    """Indices of the images for measuring ranges. peaks: for each layer, the largest absolute value (M,) of each image."""
    reach = torch.stack([peak / peak.median().clamp(min=1e-30) for peak in peaks]).amax(0)
    dropped = min(math.ceil(_OUTLIERS * len(reach)), len(reach) - 1)
    return reach.argsort(stable=True)[: len(reach) - dropped].sort().values


def scales(peak: Tensor) -> Tensor:
    """Divisors (C,) that give all channels between two convolutions the same range. peak: (C,), the largest value of each.

    An export leaves part of the spread to the weights of the next layer if these have one range for several channels. In
    training the weights adapt, and when they are on the int8 grid, only the activations are still rounded.
    """
    return torch.where(peak > 0, (peak / peak.max().clamp(min=1e-30)).clamp(_SMALLEST), 1.0)


def pairs(model: nn.Module, normed: Collection[nn.Module]) -> Iterator[tuple[nn.Conv2d, nn.Conv2d]]:
    """Pairs of convolutions with only a ReLU between them, in chains of layers that each feed only the next one.

    normed: convolutions followed by a batch norm, which may also be between them.
    """
    for chain in _chains(model):
        layers = [layer for before, layer in zip([None, *chain], chain, strict=False) if not _folds(before, layer, normed)]
        for first, between, second in zip(layers, layers[1:], layers[2:], strict=False):
            if not (isinstance(first, nn.Conv2d) and type(between) is nn.ReLU and isinstance(second, nn.Conv2d)):
                continue
            if (first in normed or first.bias is not None) and second.groups in (1, second.in_channels):
                yield first, second


def _folds(before: nn.Module | None, layer: nn.Module, normed: Collection[nn.Module]) -> bool:
    return isinstance(layer, nn.BatchNorm2d) and before in normed


def _chains(module: nn.Module) -> Iterator[list[nn.Module]]:
    """The sequences of a model, with nested ones expanded."""
    if isinstance(module, nn.Sequential):
        chain = list(_unrolled(module))
        yield chain
        inner = chain
    else:
        inner = list(module.children())
    for layer in inner:
        yield from _chains(layer)


def _unrolled(sequence: nn.Sequential) -> Iterator[nn.Module]:
    for layer in sequence:
        if isinstance(layer, nn.Sequential):
            yield from _unrolled(layer)
        else:
            yield layer
