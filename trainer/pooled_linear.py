"""A linear layer behind a pooling that repeats pixels: the same function, computed from the pixels themselves.

VGG16 pools its last features to 7 x 7. Images of 64 x 64 have only 2 x 2 left there, so most of the 49 are repetitions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, linear


class PooledLinear(nn.Module):
    """nn.Sequential(pool, nn.Flatten(), layer) of a frozen model; shares the weights of `layer`.

    Where the pooling enlarges its input, its matrix is multiplied into the weights. This is kept until the weights change.
    """

    def __init__(self, pool: nn.AdaptiveAvgPool2d, layer: nn.Linear) -> None:
        super().__init__()
        self.pool, self.layer = pool, layer
        self._kept: tuple[object, Tensor] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, C, H, W) to the layer's answers (N, outputs)."""
        height, width = features.shape[2:]
        weight = self.layer.weight
        cells = weight.shape[1] // features.shape[1]
        if height * width >= cells:
            return linear(self.pool(features).flatten(1), weight, self.layer.bias)
        state = (height, width, weight._version)
        if self._kept is None or self._kept[0] != state:
            self._kept = (state, self._joined(height, width, cells))
        return linear(features.flatten(1), self._kept[1], self.layer.bias)

    @torch.no_grad()
    def _joined(self, height: int, width: int, cells: int) -> Tensor:
        weight = self.layer.weight
        pixels = torch.eye(height * width, dtype=weight.dtype, device=weight.device).view(-1, 1, height, width)
        pooled = adaptive_avg_pool2d(pixels, self.pool.output_size).flatten(1)
        return (weight.view(len(weight), -1, cells) @ pooled.t()).flatten(1)
