"""Convolutions that apply their ReLU (or ReLU6) themselves, for input gradients on a CPU: same bits, a third of the passes.

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
_ACTIVATIONS = (nn.ReLU, nn.ReLU6)


def fused(frozen: nn.Module) -> nn.Module:
    """The same function with each ReLU or ReLU6 inside its convolution.

    Shares the weights of `frozen`, which need no gradients. Only between the layers of a plain nn.Sequential. Returns
    `frozen` itself if torch has no oneDNN.
    """
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return _fused(frozen) if there and hasattr(torch.ops.mkldnn, "_convolution_pointwise") else frozen


def _fused(module: nn.Module) -> nn.Module:
    if type(module) is nn.Sequential:
        return nn.Sequential(*_joined(list(_layers(module))))
    if not module._modules:
        return module
    outer = copy.copy(module)
    outer._modules = {name: None if child is None else _fused(child) for name, child in module._modules.items()}
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
        if type(layer) in _ACTIVATIONS and number and _plain(layers[number - 1]):
            continue
        following = later[number]
        if _plain(layer) and type(following) in _ACTIVATIONS:
            top = following.max_val if isinstance(following, nn.ReLU6) else None
            yield _ConvolutionReLU(layer, top, owns_gradient=isinstance(later[number + 1], _FRESH))  # type: ignore[arg-type]
        else:
            yield layer


def _plain(layer: nn.Module) -> bool:
    return type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


class _ConvolutionReLU(nn.Module):
    """top: where a ReLU6 cuts off; None for a ReLU."""

    def __init__(self, convolution: nn.Conv2d, top: float | None, *, owns_gradient: bool) -> None:
        super().__init__()
        self.convolution, self._top, self._owns_gradient = convolution, top, owns_gradient

    def forward(self, images: Tensor) -> Tensor:
        if len(images) < 2:  # with one image, torch may choose another algorithm than oneDNN's, with other bits
            alone: Tensor = self.convolution(images)
            return alone.clamp_(0, self._top)
        answer: Tensor = _Function.apply(images, self.convolution, self._top, self._owns_gradient)
        return answer


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor, layer: nn.Conv2d, top: float | None, owns_gradient: bool) -> Tensor:
        kind, bounds = ("relu", []) if top is None else ("hardtanh", [0.0, top])
        clamped: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups, kind, bounds, ""
        )
        context.save_for_backward(images, layer.weight, clamped)
        context.layer, context.top, context.owns_gradient = layer, top, owns_gradient
        return clamped

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        images, weight, clamped = context.saved_tensors
        (gradient,), layer, top = gradients, context.layer, context.top
        aten = torch.ops.aten
        mask, bounds = (aten.threshold_backward, (0,)) if top is None else (aten.hardtanh_backward, (0.0, top))
        if context.owns_gradient:
            masked = mask.grad_input(gradient, clamped, *bounds, grad_input=gradient)
        else:
            masked = mask(gradient, clamped, *bounds)
        (moved, _, _) = torch.ops.aten.convolution_backward(
            masked, images, weight, [len(weight)], layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups,
            (True, False, False),
        )  # fmt: skip
        return moved, None, None, None
