"""Batches of few sizes for a GPU: cuDNN needs seconds of preparation for each new size, and images leave an attack."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LEAST = 32
"""Size to which smaller batches are filled, however large their images are."""

_LEAST_PIXELS = 128 * 64 * 64
"""A GPU takes as long for fewer pixels as for so many. An H200 took 5.8 ms for 128 images of 64x64, and 6.3 ms for 32."""


class FewSizes(nn.Module):
    """A model that sees batches of few sizes only. A batch is filled with its last image; those answers are dropped.

    The model must treat each image alone, as models in evaluation mode do.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training  # not by train(), which would also set its layers

    def forward(self, images: Tensor) -> Tensor:
        """The model's answers (N, ...) to images (N, 3, H, W). Gradients reach the images as without filling."""
        missing = filled_size(len(images), side=images.shape[-1]) - len(images)
        if not len(images) or not missing:
            answer: Tensor = self.model(images)
            return answer
        filling = images[-1:].detach().expand(missing, *images.shape[1:])
        filled = torch.cat([images, filling])
        if images.is_contiguous(memory_format=torch.channels_last):
            filled = filled.contiguous(memory_format=torch.channels_last)
        answer = self.model(filled)
        return answer[: len(images)]


def few_sizes(model: nn.Module, device: torch.device) -> nn.Module:
    """The model as it is for a CPU, which takes each size as it comes; wrapped for any other device."""
    return model if device.type == "cpu" else FewSizes(model)


def filled_size(count: int, *, side: int) -> int:
    """The size to which a batch of `count` square images is filled: two sizes for each doubling, and a least one."""
    size = max(LEAST, 1 << math.ceil(math.log2(max(1, _LEAST_PIXELS / side**2))))
    while size < count:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size
