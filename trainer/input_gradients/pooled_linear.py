"""A linear layer behind a pooling that repeats pixels: the same function, computed from the pixels themselves.

VGG16 pools its last features to 7 x 7. Images of 64 x 64 have only 2 x 2 left there, so most of the 49 are repetitions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, linear

from skinaudit.trainer.input_gradients.derived_weights import DerivedWeights


class PooledLinear(nn.Module):
    """The pooling, the flattening of all but the batch, and the linear layer of a frozen model; shares their weights.

    Where the pooling enlarges its input, its matrix is multiplied into the weights.
    """

    def __init__(self, pool: nn.AdaptiveAvgPool2d, flatten: nn.Flatten, layer: nn.Linear) -> None:
        super().__init__()
        self.pool, self.flatten, self.layer = pool, flatten, layer
        self._product = DerivedWeights(self._multiplied)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, C, H, W) to the layer's answers (N, outputs)."""
        height, width = features.shape[-2:]
        weight = self.layer.weight
        cells = weight.shape[1] // features.shape[1] if features.dim() == 4 else 0
        if height * width >= cells or weight.is_inference():
            answer: Tensor = self.layer(self.flatten(self.pool(features)))
            return answer
        return linear(features.flatten(1), self._product.of(weight, height, width, cells), self.layer.bias)

    def _multiplied(self, weight: Tensor, height: int, width: int, cells: int) -> Tensor:
        """Weights (outputs, C * height * width) for features before the pooling."""
        pixels = torch.eye(height * width, dtype=weight.dtype, device=weight.device).view(-1, 1, height, width)
        pooled = adaptive_avg_pool2d(pixels, self.pool.output_size).flatten(1)
        return (weight.view(len(weight), -1, cells) @ pooled.t()).flatten(1)
