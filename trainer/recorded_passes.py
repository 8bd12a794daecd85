"""The passes of a frozen model as CUDA graphs: with small batches, a GPU mostly waits for launches from Python."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

_CALLS = 4
"""Calls with a shape before it is recorded: a recording takes as long as several calls."""

_MOST_VALUES = 3 * 2**21
"""Larger batches are computed as they are: they keep a GPU busy, and each graph keeps its activations."""

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
            self._recorded[shape] = _Pair(self._model, images)
        return self._recorded[shape](images)


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
            self._replay = record(lambda batch: model(batch), (sample,))
        self.number = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.number += 1
        # Inside the graph, answers and gradients always lie in the same place. Both are copied out of it.
        answer: Tensor = _Copied.apply(self._replay(_Copied.apply(images, None)), self)
        return answer


class _Copied(torch.autograd.Function):
    """A copy, whose gradient is a copy, too. pair: refuses the gradient if the pair has been called since."""

    @staticmethod
    def forward(context: Any, values: Tensor, pair: _Pair | None) -> Tensor:
        context.pair, context.number = pair, 0 if pair is None else pair.number
        return values.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        if context.pair is not None and context.pair.number != context.number:
            raise RuntimeError("the activations of this answer have been overwritten by a later one")
        return gradients[0].clone(), None


def can_be_recorded(model: nn.Module) -> bool:
    """Whether every layer is known to compute the same function at each call, with frozen weights."""
    modules = list(model.modules())
    known = all(f"{type(module).__module__}.".startswith(_REPEATABLE) for module in modules)
    training = any(
        module.training and isinstance(module, (nn.Dropout, nn.modules.batchnorm._BatchNorm)) for module in modules
    )
    return known and not training and not any(weight.requires_grad for weight in model.parameters())
