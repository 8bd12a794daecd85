"""The classifiers: an architecture after a normalisation layer, for pixels in [0, 1]; and folding of batch norm."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.logits import threshold_logit
from skinaudit.artifacts.program_structure import structure_of
from skinaudit.artifacts.structure import Structure
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import architectures

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """Per-channel (x - mean) / std as the model's first layer, so that eps stays in pixel units."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class TwoLogits(nn.Module):
    """One column as two: 0, and the logit of the positive class minus `shift`, the threshold's logit. It is not exported."""

    def __init__(self, positive: int, shift: float = 0.0) -> None:
        super().__init__()
        self.positive, self.shift = positive, shift

    def forward(self, column: Tensor) -> Tensor:
        margin = column - self.shift
        columns = (torch.zeros_like(margin), margin)
        return torch.cat(columns if self.positive == 1 else columns[::-1], dim=1)


def build(
    arch: str, *, width: float = 1.0, classes: int = 7, size: int = 224, positive: int | None = None, threshold: float = 0.5
) -> nn.Module:
    """Build a classifier with fresh weights from torch's global generator (seed it around the call).

    Input float32 RGB (N, 3, size, size) in [0, 1], output logits (N, classes). `width` multiplies the channels; `size` takes
    the place of MobileNet's resolution multiplier. positive: None for one column per class. Otherwise the index of one of
    two classes: the last layer has one column, the logit of this class, which is predicted above `threshold`. Raises
    InvalidInputError for an unknown arch or a size that is too small.
    """
    architecture = architectures.load(arch)
    if not 0 < width <= 4:
        raise InvalidInputError(f"width {width}: must be above 0 and at most 4")
    if size < 32:
        raise InvalidInputError(f"size {size}: {arch} reduces the image 32 times and needs at least 32 pixels")
    if positive is None:
        return nn.Sequential(Normalise(), architecture.build(width, classes))
    return nn.Sequential(Normalise(), architecture.build(width, 1), TwoLogits(positive, threshold_logit(threshold)))


def exported_part(model: nn.Module) -> nn.Module:
    """The part of the model that an engine computes: without the layer that makes two columns of one."""
    layers = list(model.children())
    return nn.Sequential(*layers[:-1]) if layers and isinstance(layers[-1], TwoLogits) else model


def contract_settings(contract: InputContract) -> dict[str, Any]:
    """The arguments of `build` that follow from a run's contract."""
    place = None if contract.positive is None else contract.classes.index(contract.positive)
    return {
        "classes": len(contract.classes), "size": contract.size, "positive": place, "threshold": contract.threshold
    }  # fmt: skip


def parameter_count(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def folded(model: nn.Module) -> nn.Module:
    """A frozen copy in evaluation mode, batch norm folded into convolutions, channels last: the same function, faster.

    For input gradients and inference. Equal to `model.eval()` up to float32 rounding; the weights are detached.
    """
    substitutes: dict[int, nn.Module] = {}  # by identity, like deepcopy's memo: folded layers are never copied
    for _, convolution, norm in foldable(model):
        substitutes |= {id(convolution): _blank(convolution), id(norm): nn.Identity()}
    frozen = channels_last(copy.deepcopy(model, substitutes).eval().requires_grad_(False))
    refold(frozen, model)
    return frozen


def _blank(convolution: nn.Conv2d) -> nn.Conv2d:
    """A convolution of the same shape with a bias, with uninitialised weights."""
    weight = nn.Parameter(torch.empty_like(convolution.weight))
    blank = copy.deepcopy(convolution, {id(convolution.weight): weight})
    blank.bias = nn.Parameter(torch.empty_like(weight[:, 0, 0, 0]))
    return blank


@torch.no_grad()
def refold(frozen: nn.Module, model: nn.Module) -> None:
    """Update `frozen`, which was folded from `model`, after the weights and statistics of `model` have changed."""
    values: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for path, convolution, norm in foldable(model):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        values[f"{path}.weight"], values[f"{path}.bias"] = fuse_conv_bn_weights(
            convolution.weight, convolution.bias,
            norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias,
        )  # fmt: skip
    for name, tensor in (*frozen.named_parameters(), *frozen.named_buffers()):
        tensor.copy_(values[name])


def foldable(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution followed by a batch norm, with its path in the model."""
    for path, parent in model.named_modules():
        for (name, layer), (_, following) in pairwise(parent.named_children()):
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                yield f"{path}.{name}" if path else name, layer, following


STRUCTURES: dict[tuple[object, ...], Structure] = {}
"""Structures by everything that decides them: a trace takes seconds, and many runs have the same structure.
"""


def recorded_structure(model: nn.Module, *, size: int) -> Structure:
    """Operators and connections of the exported part of a model in evaluation mode; the model does not change."""
    form = _form(exported_part(model), size)
    if form not in STRUCTURES:
        STRUCTURES[form] = _traced(model, size=size)
    return STRUCTURES[form]


def _form(model: nn.Module, size: int) -> tuple[object, ...]:
    """Everything on which a trace depends: layers with settings, shapes, and values that become constants."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    shapes = tuple((name, tuple(tensor.shape), tensor.dtype, tensor.device) for name, tensor in tensors)
    saved = model.state_dict().keys()
    constants = tuple((name, tuple(value.flatten().tolist())) for name, value in model.named_buffers() if name not in saved)
    return size, str(model), tuple(map(type, model.modules())), shapes, constants


def _traced(model: nn.Module, *, size: int) -> Structure:
    """Traces a copy on the CPU: on a GPU, depthwise convolutions limit the batch, and tracing refuses an unlimited one."""
    with torch.no_grad():
        program = torch.export.export(
            exported_part(copy.deepcopy(model).cpu().eval()),
            (torch.zeros(2, 3, size, size),),  # a batch of 1 would be treated as a constant
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        )
    return structure_of(program, size=size)


def channels_last(model: nn.Module) -> nn.Module:
    """The same module with convolution weights in channels-last memory order, about 1.9 times as fast on a CPU."""
    return model.to(memory_format=torch.channels_last)
