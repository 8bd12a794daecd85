"""The passes of a frozen model as CUDA graphs: with small batches, a GPU mostly waits for launches from Python.

Measured by the parts `gradients` and `strong`. No attack uses it: in PGD-40 the recording costs more than it saves
(docs/results/gpu.md). AutoAttack is still to be measured.
"""

from __future__ import annotations

import gc
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

_CALLS = 4
"""Calls with a shape before it is recorded: a recording takes as long as several calls."""

_MOST_VALUES = 3 * 2**21
"""Larger batches are computed as they are: they keep a GPU busy, and each recording keeps its activations."""

_KEPT = 3
"""Recordings that are kept; the oldest one goes first. Batches shrink during an attack, so old shapes rarely come back."""

_REPEATABLE = ("torch.nn.", "torchvision.models.", "torchvision.ops.misc", "skinaudit.trainer.models")
"""Modules whose layers compute the same function at each call, without random numbers or decisions of Python."""


class RecordedPasses:
    """Calls a model; repeats the calls with a shape as CUDA graphs once there have been a few. Same answers and gradients.

    The model's weights may change in place between calls, but not their number or shape. A gradient must be taken before
    the next call with the same shape, because a graph keeps its activations in one place; a later one raises RuntimeError.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._repeatable = can_be_recorded(model)
        self._calls: Counter[tuple[object, ...]] = Counter()
        self._recorded: dict[tuple[object, ...], _Pair] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """The model's answers (N, ...) to images (N, 3, H, W)."""
        if not self._repeatable or not _on_gpu(images) or images.numel() > _MOST_VALUES:
            return cast(Tensor, self._model(images))
        shape = (*images.shape, torch.is_grad_enabled() and images.requires_grad)
        if shape not in self._recorded:
            self._calls[shape] += 1
            if self._calls[shape] <= _CALLS:
                return cast(Tensor, self._model(images))
            self._calls[shape] = 0
            while len(self._recorded) >= _KEPT:
                self._recorded.pop(next(iter(self._recorded)))
                gc.collect()
            self._recorded[shape] = _Pair(self._model, images)
        return self._recorded[shape](images)

    def release(self) -> None:
        """Give the memory of all recordings back. They lie in reference cycles of torch, so this needs a collection."""
        if self._recorded:
            self._recorded.clear()
            gc.collect()


def _on_gpu(images: Tensor) -> bool:
    return images.device.type == "cuda"


class _Pair:
    """A forward pass and, for images with a gradient, its backward pass."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        sample = images.detach().clone().requires_grad_(torch.is_grad_enabled() and images.requires_grad)
        # A function instead of the module: torch replaces the forward method of a module that it records.
        record = cast(Callable[..., Callable[[Tensor], Tensor]], torch.cuda.make_graphed_callables)
        with warnings.catch_warnings():
            # torch warms up on another stream, and warns of weights whose gradients were added up there. There are none.
            warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream")
            self.replay = record(lambda batch: model(batch), (sample,))
        self.number = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.number += 1
        # Inside the graph, answers and gradients always lie in the same place. Both are copied out of it.
        own = cast(Tensor, _Copied.apply(images))
        return cast(Tensor, _Answered.apply(self.replay(own), own.detach(), self))


class _Copied(torch.autograd.Function):
    """A copy, whose gradient is a copy, too."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].clone()


class _Answered(torch.autograd.Function):
    """A copy of answers that watches the activations behind them, which the backward pass overwrites."""

    @staticmethod
    def forward(context: Any, answers: Tensor, images: Tensor, pair: _Pair) -> Tensor:
        context.images, context.pair, context.number, context.used = images, pair, pair.number, False
        return answers.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        if context.pair.number != context.number:
            raise RuntimeError("the activations of this answer have been overwritten by a later one")
        if context.used:  # another gradient of the same answers: the activations are computed once more
            with torch.no_grad():
                context.pair.replay(context.images)
        context.used = True
        return gradients[0].clone(), None, None


def can_be_recorded(model: nn.Module) -> bool:
    """Whether every layer is known to compute the same function at each call, with frozen weights and without hooks."""
    modules = list(model.modules())
    known = all(f"{type(module).__module__}.".startswith(_REPEATABLE) for module in modules)
    changing = any(module.training and isinstance(module, (_DropoutNd, nn.RReLU, _BatchNorm)) for module in modules)
    hooked = any(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks for module in modules)
    return known and not changing and not hooked and not any(weight.requires_grad for weight in model.parameters())
