"""Convolutions that apply their ReLU themselves, for input gradients on a CPU: the same function in a third of the passes.

For batches of at least 16 images the bits were the same wherever we looked; for smaller ones rounding can differ.

oneDNN clamps while it writes. The backward pass masks the gradient in place instead of writing a new one, whose fresh memory
pages would cost more than the arithmetic.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

_FRESH = (nn.Conv2d, nn.MaxPool2d)
"""Layers whose input gradient is a tensor of its own, so that the layer before may write into it."""


def fused(frozen: nn.Module) -> nn.Module:
    """The same function with each ReLU inside its convolution; shares the weights of `frozen`, which need no gradients.

    Only float32 layers on a CPU, between the layers of a plain nn.Sequential. If torch has no oneDNN, returns `frozen`.
    """
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return _fused(frozen) if there and hasattr(torch.ops.mkldnn, "_convolution_pointwise") else frozen


def _fused(module: nn.Module) -> nn.Module:
    """The module with its parts fused; the module itself if there is nothing to fuse in it."""
    if type(module) is nn.Sequential:
        joined, own = list(_joined(list(_layers(module)))), set(module.modules())
        return module if own.issuperset(joined) else nn.Sequential(*joined)
    children = {name: None if child is None else _fused(child) for name, child in module._modules.items()}
    if all(children[name] is child for name, child in module._modules.items()):
        return module
    outer = copy.copy(module)
    outer._modules = children
    return outer


def _layers(sequence: nn.Sequential) -> Iterator[nn.Module]:
    for layer in sequence:
        if type(layer) is nn.Sequential:
            yield from _layers(layer)
        elif not isinstance(layer, nn.Identity):
            yield _fused(layer)


def _joined(layers: list[nn.Module]) -> Iterator[nn.Module]:
    later = [*layers[1:], None, None]
    for number, layer in enumerate(layers):
        if type(layer) is nn.ReLU and number and _plain(layers[number - 1]):
            continue
        if _plain(layer) and type(later[number]) is nn.ReLU:
            yield ConvolutionReLU(layer, owns_gradient=isinstance(later[number + 1], _FRESH))  # type: ignore[arg-type]
        else:
            yield layer


def _plain(layer: nn.Module) -> bool:
    return (
        type(layer) is nn.Conv2d
        and (layer.padding_mode, layer.weight.device.type, layer.weight.dtype) == ("zeros", "cpu", torch.float32)
        and not isinstance(layer.padding, str)
    )


class ConvolutionReLU(nn.Module):
    """A convolution that applies the ReLU behind it. owns_gradient: whether the backward pass may overwrite its gradient."""

    def __init__(self, convolution: nn.Conv2d, *, owns_gradient: bool) -> None:
        super().__init__()
        self.convolution, self._owns_gradient = convolution, owns_gradient

    def forward(self, images: Tensor) -> Tensor:
        if len(images) < 2:  # with one image, torch may choose another algorithm than oneDNN's, with other bits
            return torch.relu_(self.convolution(images))
        answer: Tensor = _Function.apply(images, self.convolution, self._owns_gradient)
        return answer


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor, layer: nn.Conv2d, owns_gradient: bool) -> Tensor:
        clamped: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups, "relu", [], ""
        )
        context.save_for_backward(images, layer.weight, clamped)
        context.layer, context.owns_gradient = layer, owns_gradient
        return clamped

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        images, weight, clamped = context.saved_tensors
        (gradient,), layer = gradients, context.layer
        if context.owns_gradient:
            masked = torch.ops.aten.threshold_backward.grad_input(gradient, clamped, 0, grad_input=gradient)
        else:
            masked = torch.ops.aten.threshold_backward(gradient, clamped, 0)
        (moved, _, _) = torch.ops.aten.convolution_backward(
            masked, images, weight, [len(weight)], layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups,
            (True, False, False),
        )  # fmt: skip
        return moved, None, None
