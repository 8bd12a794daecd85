"""Chains of convolutions with their ReLUs, computed as one step of autograd, for input gradients on a CPU.

For finite values the same function, with other rounding, in less time:

- oneDNN clamps while it writes, so most ReLUs need no pass of their own (it also turns NaN into 0);
- the backward pass masks a gradient in place where nobody else holds it: a new one would need fresh pages of memory;
- convolutions of single pixels are products of matrices with one row for each pixel of the batch. oneDNN's convolutions work
  image by image, which takes three times as long for 1,024 channels of 2 x 2 pixels;
- autograd handles one step for the whole chain.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from skinaudit.trainer.pooled_linear import PooledLinear

_FEW = 2
"""For so few images, torch's own layers are as fast or faster."""
_SMALL = 1 << 18
"""Values of an answer that stays in the cache of its core, so that a ReLU of its own costs little."""


def fused(frozen: nn.Module) -> nn.Module:
    """The same function, computed by chains; shares the weights of `frozen`, which need no gradients.

    Only layers in float32 on a CPU are joined, if they follow each other in a plain nn.Sequential or in torchvision's VGG.
    Modules of other packages, and layers with hooks, stay what they are. If torch has no oneDNN, returns `frozen`.
    """
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return _fused(frozen) if there and hasattr(torch.ops.mkldnn, "_linear_pointwise") else frozen


def _fused(module: nn.Module) -> nn.Module:
    """The module with its parts fused; the module itself if there is nothing to fuse in it."""
    if _sequence(module) is not None:
        chained, own = list(_chained(joined(module))), set(module.modules())
        if own.issuperset(chained):
            return module
        sequence = nn.Sequential(*chained)
        sequence.training = module.training  # not by train(), which would reach the layers that both share
        return sequence
    if not (type(module) is nn.ModuleList or type(module).__module__.startswith("skinaudit.")):
        return module  # it may look into its children
    children = {name: None if child is None else _fused(child) for name, child in module._modules.items()}
    if all(children[name] is child for name, child in module._modules.items()):
        return module
    outer = copy.copy(module)
    outer._modules = children
    return outer


def joined(sequence: nn.Module) -> list[nn.Module]:
    """The layers of a sequence and of the sequences inside it, each convolution with its ReLU as one ConvolutionReLU."""
    layers, place, found = list(_layers(sequence)), 0, list[nn.Module]()
    while place < len(layers):
        layer, second, third = (layers[place : place + 3] + [nn.Identity()] * 2)[:3]
        if _plain(layer) and type(second) is nn.ReLU and _untouched(second):
            found.append((PointwiseReLU if _pointwise(layer) else ConvolutionReLU)(layer))  # type: ignore[arg-type]
            place += 2
        elif _pools(layer, second, third):
            found.append(PooledLinear(layer, second, third))  # type: ignore[arg-type]
            place += 3
        else:
            found.append(layer)
            place += 1
    return found


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    sequence = _sequence(module)
    if sequence is None:
        yield _fused(module)
        return
    for layer in sequence:
        if not isinstance(layer, nn.Identity):
            yield from _layers(layer)


def _sequence(module: nn.Module) -> list[nn.Module] | None:
    """The layers that the module applies one after the other, or None if it does not work like this."""
    if type(module) is nn.Sequential and _untouched(module):
        return list(module)
    models = sys.modules.get(
        "torchvision.models"
    )  # which takes a second to load, and is loaded if the module is one of them
    if models is not None and type(module) is models.VGG and _untouched(module):
        return [module.features, module.avgpool, nn.Flatten(), module.classifier]  # type: ignore[list-item]
    return None


def _plain(layer: nn.Module) -> bool:
    return (
        type(layer) is nn.Conv2d
        and _untouched(layer)
        and _in_float32_on_a_cpu(layer.weight)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def _pools(layer: nn.Module, second: nn.Module, third: nn.Module) -> bool:
    """Whether these are a pooling, a flattening of all but the batch, and a linear layer."""
    return (
        type(layer) is nn.AdaptiveAvgPool2d
        and type(second) is nn.Flatten
        and type(third) is nn.Linear
        and all(map(_untouched, (layer, second, third)))
        and (second.start_dim, second.end_dim) == (1, -1)
        and _in_float32_on_a_cpu(third.weight)
    )


def _in_float32_on_a_cpu(weight: object) -> bool:
    return isinstance(weight, Tensor) and (weight.device.type, weight.dtype) == ("cpu", torch.float32)


def _untouched(layer: nn.Module) -> bool:
    """Whether a call of the layer does no more than its class says."""
    hooks = (
        layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks
    )  # fmt: skip
    return not any(hooks) and "forward" not in vars(layer)


def _pointwise(layer: nn.Conv2d) -> bool:
    """Whether each pixel of the answer depends on one pixel only."""
    return (*layer.kernel_size, *layer.stride, *layer.padding, layer.groups) == (1, 1, 1, 1, 0, 0, 1)


def _chained(layers: list[nn.Module]) -> Iterator[nn.Module]:
    place = 0
    for is_link, group in groupby(layers, lambda layer: isinstance(layer, ConvolutionReLU)):
        links = list(group)
        place += len(links)
        if is_link:
            # The gradient of a max pooling is a tensor of its own; that of an average is one value, expanded.
            pooled = place < len(layers) and type(layers[place]) is nn.MaxPool2d and _untouched(layers[place])
            yield Chain(links, owns_gradient=pooled)  # type: ignore[arg-type]
        else:
            yield from links


class ConvolutionReLU(nn.Module):
    """A convolution of frozen weights and the ReLU behind it, forward and backward."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to the answer (N, channels, H, W)."""
        layer = self.convolution
        clamped: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups, "relu", [], ""
        )
        return clamped

    def backward(self, gradient: Tensor, images: Tensor) -> Tensor:
        """The gradient at the images, from that behind the convolution: where the ReLU gave 0, it must be 0 already."""
        layer = self.convolution
        moved: Tensor
        (moved, _, _) = torch.ops.aten.convolution_backward(
            gradient, images, layer.weight, [layer.out_channels], layer.stride, layer.padding, layer.dilation, False, [0, 0],
            layer.groups, (True, False, False),
        )  # fmt: skip
        return moved


class PointwiseReLU(ConvolutionReLU):
    """The same for a convolution of single pixels, as products of matrices."""

    def forward(self, images: Tensor) -> Tensor:
        """See ConvolutionReLU."""
        layer, rows = self.convolution, _rows(images)
        weight = layer.weight.flatten(1)
        clamped: Tensor
        few = len(rows) <= layer.in_channels or len(rows) * layer.out_channels <= _SMALL
        if layer.bias is not None and few:
            # oneDNN would need more time to reorder the weights than it saves by clamping while it writes.
            clamped = torch.addmm(layer.bias, rows, weight.t()).relu_()
        else:
            clamped = torch.ops.mkldnn._linear_pointwise(rows, weight, layer.bias, "relu", [], "")
        return _images(clamped, images)

    def backward(self, gradient: Tensor, images: Tensor) -> Tensor:
        """See ConvolutionReLU."""
        return _images(torch.mm(_rows(gradient), self.convolution.weight.flatten(1)), images)


def _rows(images: Tensor) -> Tensor:
    """Images (N, C, H, W) as a matrix (N * H * W, C); without a copy if they are channels-last."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def _images(rows: Tensor, like: Tensor) -> Tensor:
    """A matrix (N * H * W, C) as channels-last images (N, C, H, W), of the N, H and W of `like`."""
    count, _, height, width = like.shape
    return rows.view(count, height, width, rows.shape[1]).permute(0, 3, 1, 2)


class Chain(nn.Module):
    """Convolutions with their ReLUs, one after the other.

    owns_gradient: whether the backward pass may overwrite the gradient that it is given.
    """

    def __init__(self, links: list[ConvolutionReLU], *, owns_gradient: bool) -> None:
        super().__init__()
        self.links, self.owns_gradient = nn.ModuleList(links), owns_gradient

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to the answer (N, channels, H, W), channels-last."""
        if images.dim() != 4 or len(images) <= _FEW:
            for link in self.links:
                images = link.convolution(images).relu_()  # type: ignore[operator]
            return images
        if torch.is_grad_enabled() and images.requires_grad:
            answer: Tensor = _Chain.apply(images, self)
            return answer
        for link in self.links:
            images = link(images)
        return images


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor, chain: Chain) -> Tensor:
        passed = [images]
        for link in chain.links:
            passed.append(link(passed[-1]))
        context.save_for_backward(*passed)
        context.chain = chain
        return passed[-1]

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), chain, passed = gradients, context.chain, context.saved_tensors
        own = chain.owns_gradient
        for link, images, clamped in zip(reversed(chain.links), passed[-2::-1], passed[::-1], strict=False):
            gradient = link.backward(_masked(gradient, clamped, in_place=own), images)
            own = True
        return gradient, None


def _masked(gradient: Tensor, clamped: Tensor, *, in_place: bool) -> Tensor:
    """The gradient where the ReLU let the values through, and 0 elsewhere."""
    masked: Tensor
    if in_place:
        masked = torch.ops.aten.threshold_backward.grad_input(gradient, clamped, 0, grad_input=gradient)
    else:
        masked = torch.ops.aten.threshold_backward(gradient, clamped, 0)
    return masked
