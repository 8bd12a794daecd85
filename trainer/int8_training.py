"""Training for int8 (quantisation-aware): the last epochs include the rounding of an int8 engine.

Weights and activations are rounded in the forward pass, and gradients pass as if they were not (Jacob et al. 2018,
https://arxiv.org/abs/1712.05877; Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342). Batch norm keeps its statistics and
is folded into the convolutions. Before the first of these epochs, activations get a common bound
(skinaudit.trainer.int8_channels). The result is an ordinary float model whose weights are on the int8 grid, so its export
rounds only the activations.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from skinaudit.trainer.evaluate import device_of, slices, to_pixels
from skinaudit.trainer.int8_channels import bound, limit, usual
from skinaudit.trainer.models import foldable

CALIBRATION_IMAGES = 512
"""Number of training images on which ranges are measured, here and by an export."""

FINE_TUNING = {"epochs": 4, "learning_rate": 3e-4}
"""Settings of the recipe, unless chosen, of a training of a finished run for int8 alone."""

_LEVELS = 127
"""Largest code. Ranges and weights are symmetric and signed, the coarser of the two exported forms of int8."""
_AGREEMENT, _REACH = 10.0, 0.05
"""Weights in the loss: of answers changed by rounding, and of values beyond their range."""
_BATCH = 64


def calibration_rows(count: int, *, seed: int) -> NDArray[np.int64]:
    """Indices, in increasing order, of the `count` training images that measure the ranges."""
    return np.sort(np.random.default_rng(seed).choice(count, min(CALIBRATION_IMAGES, count), replace=False))


def first_epoch(share: float, *, epochs: int) -> int:
    """The first epoch, from 0, of the last `share` of all; `epochs` if the share is 0."""
    return epochs - math.ceil(round(share * epochs, 9))


@torch.no_grad()
def begin(model: nn.Module, average: AveragedModel | None, images: NDArray[np.uint8]) -> None:
    """Bound the activations of a model before its first epoch for int8, and of its moving average, in place.

    images: uint8 (M, 3, H, W), to measure them. With an average, both go on from its weights, which are those that would be
    kept without int8.
    """
    if average is not None and average.n_averaged:
        model.load_state_dict(average.module.state_dict())
    bound(model, images)
    if average is not None:
        average.module.load_state_dict(model.state_dict())
        limit(average.module)


class RoundedModel:
    """The function of an int8 engine of a model in training, with gradients for the model's own parameters.

    images: uint8 (M, 3, H, W). Ranges are measured on them once, with the weights of this moment. Batch norm uses its
    running statistics and does not change them; dropout is off.
    """

    def __init__(self, model: nn.Module, images: NDArray[np.uint8]) -> None:
        norms = _norms(model)
        self._model = model
        self._layers: dict[nn.Module, _Rounded] = {
            layer: _Rounded(layer, norms.get(layer))
            for layer in model.modules()
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.AdaptiveAvgPool2d)
        }
        memo: dict[int, object] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        memo |= {id(norm): nn.Identity() for norm in norms.values()}
        memo |= {id(layer): rounded for layer, rounded in self._layers.items()}
        self._rounded = copy.deepcopy(model, memo).eval()
        self._measure(images)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of the int8 engine for images float32 (N, 3, H, W) in [0, 1].

        The backward pass of any loss computed from them also reduces the distance to the answers of the float model with the
        same weights. The distance is log(1 + d), d the sum of both Kullback-Leibler divergences, so that a few outliers do
        not dominate. Values beyond their range are penalised too, so that no rare image stretches it. Computed in fp32, even
        if training is in bf16.
        """
        with torch.autocast(images.device.type, enabled=False):
            exact = self.logits(images, rounds=False)
            reach = torch.stack([layer.reach for layer in self._layers.values()]).sum()
            rounded = self.logits(images, rounds=True)
        first, second = exact.log_softmax(1), rounded.log_softmax(1)
        apart = ((first.exp() - second.exp()) * (first - second)).sum(1).log1p().mean()
        logits: Tensor = _Beside.apply(rounded, _AGREEMENT * apart + _REACH * reach)
        return logits

    def logits(self, images: Tensor, *, rounds: bool) -> Tensor:
        """Logits (N, classes) with the weights on the int8 grid; if `rounds`, the activations too."""
        for layer in self._layers.values():
            layer.rounds = rounds
        answers: Tensor = self._rounded(images.contiguous(memory_format=torch.channels_last))
        return answers

    @torch.no_grad()
    def _measure(self, images: NDArray[np.uint8]) -> None:
        """The range of each layer's input, from one pass over the images."""
        peaks = self._peaks(images)
        kept = usual(list(peaks.values()))
        for layer, peak in peaks.items():
            self._layers[layer].range = max(float(peak[kept].max()), 1e-12)

    def _peaks(self, images: NDArray[np.uint8]) -> dict[nn.Module, Tensor]:
        """For the input of each layer in float: the largest absolute value (M,) of each image."""
        parts = []
        for part in slices(len(images), _BATCH):
            self.logits(to_pixels(images[part], device=device_of(self._model)), rounds=False)
            parts.append([rounded.peaks for rounded in self._layers.values()])
        return {layer: torch.cat(peaks) for layer, peaks in zip(self._layers, zip(*parts, strict=True), strict=True)}


@torch.no_grad()
def on_grid(model: nn.Module) -> nn.Module:
    """A float copy of the model in evaluation mode with weights on the int8 grid. Its batch norm only adds the bias."""
    rounded = copy.deepcopy(model).eval()
    norms = _norms(rounded)
    for layer in rounded.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        norm = norms.get(layer)
        weight, bias = _folded(layer, norm)
        layer.weight.copy_(on_int8_grid(weight))
        if norm is not None:
            if layer.bias is not None:
                layer.bias.zero_()
            neutral = {"weight": 1.0, "running_mean": 0.0, "running_var": 1 - norm.eps}
            for name, value in neutral.items():
                getattr(norm, name).fill_(value)
        if bias is not None:
            (norm or layer).bias.copy_(bias)  # type: ignore[union-attr]
    return rounded


class _Beside(torch.autograd.Function):
    """Returns the values unchanged. The backward pass of a loss of them also descends `penalty`, a scalar."""

    @staticmethod
    def forward(context: Any, values: Tensor, penalty: Tensor) -> Tensor:
        """The values."""
        context.save_for_backward(torch.ones_like(penalty))
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of the loss for the values, 1 for the penalty."""
        return gradients[0], context.saved_tensors[0]


class _Rounded(nn.Module):
    """A layer of the model in training, with its parameters. Its input and weights can be put on the int8 grid."""

    def __init__(self, layer: nn.Module, norm: nn.BatchNorm2d | None) -> None:
        super().__init__()
        self._shared = (layer, norm)  # a tuple, so that the parameters belong to the model alone
        self.range: float | None = None  # until it is known, the layer computes in float and records `peaks`
        self.rounds = False
        self.peaks, self.reach = torch.zeros(0), torch.zeros(0)

    def forward(self, values: Tensor) -> Tensor:
        layer, norm = self._shared
        if self.range is None:
            self.peaks = values.flatten(1).abs().amax(1)
        elif self.rounds:
            values = torch.fake_quantize_per_tensor_affine(values, self.range / _LEVELS, 0, -_LEVELS - 1, _LEVELS)
        else:  # mean over each image; the logarithm also gives far outliers a gradient
            self.reach = (values.flatten(1).abs().amax(1) / self.range).clamp(min=1).log().mean()
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            pooled: Tensor = layer(values)
            return pooled
        weight, bias = _folded(layer, norm)
        if self.range is not None:
            weight = on_int8_grid(weight)
        if isinstance(layer, nn.Linear):
            return functional.linear(values, weight, bias)
        return functional.conv2d(values, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def _folded(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    """Weights and bias of a layer with its batch norm folded in, with gradients for both."""
    weight, bias = layer.weight, layer.bias
    if norm is None:
        return weight, bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return weight * gain.view(-1, 1, 1, 1), norm.bias + ((0 if bias is None else bias) - norm.running_mean) * gain


def on_int8_grid(weight: Tensor) -> Tensor:
    """Weights rounded to multiples of 1/127 of the largest one in their output channel; gradients pass unchanged."""
    largest = weight.detach().abs().flatten(1).amax(1).clamp(min=1e-30)
    zero = torch.zeros(len(largest), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight, largest / _LEVELS, zero, 0, -_LEVELS, _LEVELS)


def _norms(model: nn.Module) -> dict[nn.Module, nn.BatchNorm2d]:
    """The batch norm after each convolution that has one."""
    return {convolution: norm for _, convolution, norm in foldable(model)}
