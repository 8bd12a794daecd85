"""Convolutions of 3 x 3 pixels by Winograd's algorithm (Lavin and Gray 2015, https://arxiv.org/abs/1509.09308).

A tile of 6 x 6 pixels gives 4 x 4 pixels of the answer. Tiles are transformed, multiplied value by value, and transformed
back, so that each pair of channels costs 36 products per tile instead of 144. Every part is a product of matrices.

Rounding errors are relative to the largest value of a tile. A value of a million among small ones therefore makes its
neighbours inexact. Models with normalisation have no such values.

The transforms come from a polynomial's values at six points (Toom and Cook). With the usual points 0, 1, -1, 2, -2 and
infinity, the largest error in float32 is two to three times as large as with these.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
_TILE = 4
"""Pixels of the answer along each side of a tile."""
_READ = 6
"""Pixels of the image along each side of a tile; neighbours overlap."""
_CHANNELS = 64
"""With fewer channels, transforms cost more than the products save."""
_PAIRS = 64 * 128
"""The same for the number of inputs times that of outputs."""
_PADDED = 1.5
"""Largest area of all tiles, as a share of the image's."""
_ROWS = 32
"""With fewer tiles than this, reading the weights, of which there are four times as many, costs more than the products."""
_BLOCK = 1 << 21
"""Values of transformed tiles that are computed at once: 8 MiB."""


def suits(layer: nn.Conv2d) -> bool:
    """Whether the algorithm computes this convolution, and has enough channels to save time."""
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode)
    fewer, more = sorted((layer.in_channels, layer.out_channels))
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros") and fewer >= _CHANNELS and fewer * more >= _PAIRS


def saves_time(images: Tensor) -> bool:
    """Whether images (N, C, H, W) are large and many enough for a convolution that suits."""
    count, _, height, width = images.shape
    down, across = _tiles(height), _tiles(width)
    return down * across * _TILE**2 <= _PADDED * height * width and count * down * across >= _ROWS


def transformed(weight: Tensor) -> Tensor:
    """Weights (outputs, C, 3, 3) as the algorithm multiplies them: (36, C, outputs)."""
    outputs, channels = weight.shape[:2]
    values = _transforms()[0] @ weight.permute(2, 3, 1, 0).reshape(9, -1)
    return values.view(_READ**2, channels, outputs)


def turned(weight: Tensor) -> Tensor:
    """Weights (C, outputs, 3, 3) of the convolution that the gradient goes through, from (outputs, C, 3, 3)."""
    return weight.transpose(0, 1).flip(2, 3)


def convolved(images: Tensor, weight: Tensor, bias: Tensor | None, *, clamp: bool) -> Tensor:
    """The convolution with a border of zeros; images (N, C, H, W) to (N, outputs, H, W), channels-last, float32.

    weight: from `transformed`. bias: (outputs,). clamp: whether a ReLU follows.
    """
    _, into, back = _transforms()
    count, channels, height, width = images.shape
    outputs, down, across = weight.shape[2], _tiles(height), _tiles(width)
    pixels = images.permute(0, 2, 3, 1)
    answer = images.new_empty(count, down * _TILE, across * _TILE, outputs)
    at_once = min(count, max(1, _BLOCK // (_READ**2 * channels * down * across)))
    padded = images.new_zeros(at_once, down * _TILE + 2, across * _TILE + 2, channels)
    rows, columns = padded.stride()[1:3]
    for first in range(0, count, at_once):
        part = padded[: min(at_once, count - first)]
        padded[: len(part), 1 : height + 1, 1 : width + 1] = pixels[first : first + at_once]
        tiles = part.as_strided(
            (_READ, _READ, len(part), down, across, channels),
            (rows, columns, padded.stride(0), _TILE * rows, _TILE * columns, 1),
        )  # fmt: skip
        products = torch.bmm(torch.mm(into, tiles.reshape(_READ**2, -1)).view(_READ**2, -1, channels), weight)
        values = torch.mm(back, products.view(_READ**2, -1)).view(_TILE, _TILE, len(part), down, across, outputs)
        if bias is not None:
            values += bias
        if clamp:
            values.relu_()
        place = answer[first : first + at_once].view(len(part), down, _TILE, across, _TILE, outputs)
        place.copy_(values.permute(2, 3, 0, 4, 1, 5))
    return answer[:, :height, :width].contiguous().permute(0, 3, 1, 2)


def _tiles(pixels: int) -> int:
    return -(-pixels // _TILE)


@cache
def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Matrices for both sides of a tile at once: of the weights (36, 9), of the pixels (36, 36), and back (16, 36)."""
    weights, all_values, answers = (_powers(count) for count in (3, _READ, _TILE))
    pixels = torch.linalg.inv(all_values).t().contiguous()
    return (
        torch.kron(weights, weights).float(),
        torch.kron(pixels, pixels).float(),
        torch.kron(answers.t(), answers.t()).float(),
    )


def _powers(count: int) -> Tensor:
    """Powers 0 to count - 1 of every point: (6, count), float64. At infinity only the highest one counts."""
    finite = torch.tensor(_POINTS, dtype=torch.float64).view(-1, 1) ** torch.arange(count)
    return torch.cat((finite, torch.eye(count, dtype=torch.float64)[-1:]))
