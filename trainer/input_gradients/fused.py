"""Chains of convolutions with their ReLUs and poolings, computed as one step of autograd, for input gradients on a CPU.

For finite values the same function, with other rounding, in less time: see `links` for the parts. The chain itself saves

- autograd's work for each layer;
- the memory of gradients: they are masked where the ReLU gave 0, in place, and on the small side of a max pooling.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from skinaudit.trainer.input_gradients.links import ConvolutionReLU, MaxPool, link_of
from skinaudit.trainer.input_gradients.pooled_linear import PooledLinear

_FEW = 2
"""For so few images, torch's own layers are as fast or faster."""


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
            found.append(link_of(layer))  # type: ignore[arg-type]
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
        if not (type(layer) is nn.Identity and _untouched(layer)):
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


def _chained(layers: list[nn.Module]) -> Iterator[nn.Module]:
    links, pools = list[nn.Module](), list[nn.Module]()  # pools: behind the last convolution so far
    for layer in [*layers, None]:
        if isinstance(layer, ConvolutionReLU):
            links += [*map(MaxPool, pools), layer]  # type: ignore[arg-type]
            pools = []
        elif links and type(layer) is nn.MaxPool2d and _untouched(layer) and not layer.return_indices:
            pools.append(layer)
        else:
            if links:
                yield Chain(links)
            yield from pools
            links, pools = [], []
            if layer is not None:
                yield layer


class Chain(nn.Module):
    """Convolutions with their ReLUs, one after the other, and the max poolings between them."""

    def __init__(self, links: list[nn.Module]) -> None:
        super().__init__()
        self.links = nn.ModuleList(links)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to the answer (N, channels, h, w), channels-last."""
        if images.dim() != 4 or len(images) <= _FEW:
            for link in self.links:
                images = link.pool(images) if isinstance(link, MaxPool) else link.convolution(images).relu_()  # type: ignore[operator]
            return images
        if torch.is_grad_enabled() and images.requires_grad:
            answer: Tensor = _Chain.apply(images, self)
            return answer
        for link in self.links:
            images = link(images)[0] if isinstance(link, MaxPool) else link(images)
        return images


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor, chain: Chain) -> Tensor:
        passed, places = [images], list[Tensor]()
        for link in chain.links:
            if isinstance(link, MaxPool):
                largest, chosen = link(passed[-1])
                passed.append(largest)
                places.append(chosen)
            else:
                passed.append(link(passed[-1]))
        context.save_for_backward(*passed, *places)
        context.chain = chain
        return passed[-1]

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), links = gradients, list(context.chain.links)
        passed, places = list(context.saved_tensors[: len(links) + 1]), list(context.saved_tensors[len(links) + 1 :])
        own = masked = False
        for link in reversed(links):
            answer = passed.pop()
            if not masked:
                gradient = _masked(gradient, answer, in_place=own)
            own, masked = True, isinstance(link, MaxPool)  # a pooling passes a masked gradient on to values above 0 only
            gradient = link.backward(gradient, passed[-1], places.pop()) if masked else link.backward(gradient, passed[-1])
        return gradient, None


def _masked(gradient: Tensor, clamped: Tensor, *, in_place: bool) -> Tensor:
    """The gradient where the ReLU let the values through, and 0 elsewhere."""
    masked: Tensor
    if in_place:
        masked = torch.ops.aten.threshold_backward.grad_input(gradient, clamped, 0, grad_input=gradient)
    else:
        masked = torch.ops.aten.threshold_backward(gradient, clamped, 0)
    return masked
