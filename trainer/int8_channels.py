"""Bounded activations for int8: each ReLU becomes a ReLU6 whose channels all use the same range.

A channel may be scaled before a ReLU and scaled back behind it (Nagel et al. 2019, https://arxiv.org/abs/1906.04721). Here
each channel is scaled so that 6 is the value that its largest one exceeds in a tenth of the images. A ReLU6 then cuts off
what lies above, in the float model as in its int8 engine, so that rare values neither stretch a range nor differ between the
two. Training adapts the weights to it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skinaudit.trainer.evaluate import device_of, slices, to_pixels
from skinaudit.trainer.models import foldable

_OUTLIERS = 0.01
"""Share of the images that is left out as outliers, as in skinaudit.export.outliers.
"""
_WITHIN = 0.9
"""Share of the images whose values all stay within the bound of a channel."""
_BOUND = 6.0
_SMALLEST = 2.0**-8
_BATCH = 64
_PER_CHANNEL = (nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Dropout, nn.Identity)
"""Layers that keep the channels apart and multiply their values by nothing but 1."""


@dataclass(frozen=True, eq=False)
class _Link:
    """A ReLU and the layers around it.

    scaled: the layer before it, a batch norm or a layer without one. reader: the next layer with weights.
    """

    scaled: nn.Conv2d | nn.Linear | nn.BatchNorm2d
    relu: nn.ReLU
    reader: nn.Conv2d | nn.Linear


def usual(peaks: Sequence[Tensor]) -> Tensor:
    """Indices of the images for measuring ranges. peaks: for each layer, the largest absolute value (M,) of each image."""
    reach = torch.stack([peak / peak.median().clamp(min=1e-30) for peak in peaks]).amax(0)
    dropped = min(math.ceil(_OUTLIERS * len(reach)), len(reach) - 1)
    return reach.argsort(stable=True)[: len(reach) - dropped].sort().values


def limit(model: nn.Module) -> None:
    """Replace each ReLU that can be bounded by a ReLU6, in place, and change no weight."""
    bounded = {link.relu for link in _links(model)}
    for module in list(model.modules()):
        for name, layer in module.named_children():
            if layer in bounded:
                setattr(module, name, nn.ReLU6(inplace=layer.inplace))


@torch.no_grad()
def bound(model: nn.Module, images: NDArray[np.uint8]) -> None:
    """Scale the channels and replace the ReLUs, in place. The function changes only where a value is cut off.

    images: uint8 (M, 3, H, W), on which the channels are measured. The weights that read a channel that is 0 on all of them
    are set to 0: a rare image that activates it would otherwise be multiplied by a thousand in models that started from
    ImageNet weights. ReLUs that are not between two weighted layers of a sequence stay as they are.
    """
    links = list(_links(model))
    peaks = _peaks(model, [link.relu for link in links], images)
    for link in links:
        divisors = _divisors(peaks[link.relu])
        link.scaled.weight /= divisors.view(-1, *[1] * (link.scaled.weight.ndim - 1))
        if link.scaled.bias is not None:
            link.scaled.bias /= divisors
        factors = divisors * (peaks[link.relu].amax(0) > 0)
        weight = link.reader.weight
        if isinstance(link.reader, nn.Linear):
            weight *= factors.repeat_interleave(weight.shape[1] // len(factors))
        else:
            weight *= factors.view((-1, 1, 1, 1) if weight.shape[1] == 1 else (1, -1, 1, 1))
    limit(model)


def _divisors(peaks: Tensor) -> Tensor:
    """Divisors (C,) after which the bound of each channel is 6. peaks: the largest value (M, C) of each image and channel.

    A channel without a value in most images gets the bound of the channel with the largest one.
    """
    bounds = peaks.quantile(_WITHIN, dim=0)
    largest = bounds.max()
    if largest == 0:
        return torch.ones_like(bounds)
    return torch.where(bounds > 0, bounds.clamp(min=_SMALLEST * largest), largest) / _BOUND


def _peaks(model: nn.Module, relus: Sequence[nn.ReLU], images: NDArray[np.uint8]) -> dict[nn.ReLU, Tensor]:
    """The largest value (M, C) of each image and channel behind each ReLU, of the model in evaluation mode."""
    parts: dict[nn.ReLU, list[Tensor]] = {relu: [] for relu in relus}

    def keep(relu: nn.Module, _: object, values: Tensor) -> None:
        parts[relu].append(values.reshape(*values.shape[:2], -1).amax(2))  # type: ignore[index]

    training, hooks = model.training, [relu.register_forward_hook(keep) for relu in relus]
    model.eval()
    for part in slices(len(images), _BATCH):
        pixels = to_pixels(images[part], device=device_of(model))
        model(pixels.contiguous(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()
    model.train(training)
    return {relu: torch.cat(peaks) for relu, peaks in parts.items()}


def _links(model: nn.Module) -> Iterator[_Link]:
    """The ReLUs that can be bounded: between two weighted layers of a sequence, through layers that keep channels apart."""
    norms = {norm: convolution for _, convolution, norm in foldable(model)}
    for chain in _chains(model):
        uses = Counter(chain)
        for place, relu in enumerate(chain):
            if type(relu) is not nn.ReLU or uses[relu] > 1 or place == 0:
                continue
            scaled = chain[place - 1]
            reader = next((layer for layer in chain[place + 1 :] if not isinstance(layer, _PER_CHANNEL)), None)
            if isinstance(scaled, nn.BatchNorm2d):
                if chain[place - 2] is not norms.get(scaled):
                    continue
            elif not isinstance(scaled, nn.Conv2d | nn.Linear):
                continue
            if isinstance(reader, nn.Linear) or (
                isinstance(reader, nn.Conv2d) and reader.groups in (1, reader.in_channels)
            ):  # fmt: skip
                yield _Link(scaled, relu, reader)


def _chains(module: nn.Module) -> Iterator[list[nn.Module]]:
    """The sequences of a model, with nested ones expanded. Each layer feeds only the next one."""
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
