"""Convolutions of frozen weights with the ReLU behind them, and poolings: the links of a chain, forward and backward.

oneDNN clamps while it writes, so that most ReLUs need no pass of their own. That turns NaN into 0; the other ways keep it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skinaudit.trainer.input_gradients import winograd
from skinaudit.trainer.input_gradients.derived_weights import DerivedWeights

_SMALL = 1 << 18
"""Values of an answer that stays in the cache of its core, so that a ReLU of its own costs little."""


def link_of(layer: nn.Conv2d) -> ConvolutionReLU:
    """The fastest link for this convolution and a ReLU."""
    if (*layer.kernel_size, *layer.stride, *layer.padding, layer.groups) == (1, 1, 1, 1, 0, 0, 1):
        return PointwiseReLU(layer)
    return WinogradReLU(layer) if winograd.suits(layer) else ConvolutionReLU(layer)


class ConvolutionReLU(nn.Module):
    """A convolution and its ReLU."""

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
    """The same for a convolution of single pixels, as products of matrices with one row for each pixel of the batch.

    oneDNN's convolutions work image by image, which takes three times as long for 1,024 channels of 2 x 2 pixels.
    """

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


class WinogradReLU(ConvolutionReLU):
    """The same for a convolution of 3 x 3 pixels, by Winograd's algorithm where that saves time."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(convolution)
        self._weights = DerivedWeights(winograd.transformed)
        self._weights_back = DerivedWeights(_transformed_back)

    def forward(self, images: Tensor) -> Tensor:
        """See ConvolutionReLU."""
        layer = self.convolution
        if not _convolves(images, layer):
            return super().forward(images)
        return winograd.convolved(images, self._weights.of(layer.weight), layer.bias, clamp=True)

    def backward(self, gradient: Tensor, images: Tensor) -> Tensor:
        """See ConvolutionReLU."""
        layer = self.convolution
        if not _convolves(images, layer):
            return super().backward(gradient, images)
        return winograd.convolved(gradient, self._weights_back.of(layer.weight), None, clamp=False)


def _convolves(images: Tensor, layer: nn.Conv2d) -> bool:
    return winograd.saves_time(images) and not layer.weight.is_inference()


def _transformed_back(weight: Tensor) -> Tensor:
    return winograd.transformed(winograd.turned(weight))


class MaxPool(nn.Module):
    """A max pooling between convolutions, whose inputs come out of a ReLU."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) to the largest values and their places, int64, both (N, C, h, w)."""
        answer: tuple[Tensor, Tensor] = torch.ops.aten.max_pool2d_with_indices(images, *self._settings())
        return answer

    def backward(self, gradient: Tensor, images: Tensor, places: Tensor) -> Tensor:
        """The gradient at the images (N, C, H, W), from that behind the pooling (N, C, h, w)."""
        moved: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(gradient, images, *self._settings(), places)
        return moved

    def _settings(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int], bool]:
        pool = self.pool
        stride = pool.stride or pool.kernel_size
        return _pair(pool.kernel_size), _pair(stride), _pair(pool.padding), _pair(pool.dilation), pool.ceil_mode


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _rows(images: Tensor) -> Tensor:
    """Images (N, C, H, W) as a matrix (N * H * W, C); without a copy if they are channels-last."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def _images(rows: Tensor, like: Tensor) -> Tensor:
    """A matrix (N * H * W, C) as channels-last images (N, C, H, W), of the N, H and W of `like`."""
    count, _, height, width = like.shape
    return rows.view(count, height, width, rows.shape[1]).permute(0, 3, 1, 2)
