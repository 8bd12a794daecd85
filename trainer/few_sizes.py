"""Batches of few sizes for a GPU: cuDNN needs seconds of preparation for each new size, and images leave an attack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from skinaudit.trainer.recorded_passes import RecordedPasses

LEAST = 32
"""A smaller batch takes a GPU as long as one of this size."""


class FewSizes(nn.Module):
    """A model that sees batches of few sizes only. A batch is filled with its last image; those answers are dropped.

    The model must treat each image alone, as models in evaluation mode do.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.passes = RecordedPasses(model)
        self.train(model.training)

    def forward(self, images: Tensor) -> Tensor:
        """The model's answers (N, ...) to images (N, 3, H, W). Gradients reach the images as without filling."""
        missing = filled_size(len(images)) - len(images)
        if not len(images) or not missing:
            return self.passes(images)
        filling = images[-1:].detach().expand(missing, *images.shape[1:])
        filled = torch.cat([images, filling])
        if images.is_contiguous(memory_format=torch.channels_last):
            filled = filled.contiguous(memory_format=torch.channels_last)
        return self.passes(filled)[: len(images)]


@contextmanager
def few_sizes(model: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """The model as it is for a CPU, which takes each size as it comes; wrapped for any other device.

    At the end of the block the wrapped model's recordings give their memory back.
    """
    if device.type == "cpu" or isinstance(model, FewSizes):
        yield model
        return
    wrapped = FewSizes(model)
    try:
        yield wrapped
    finally:
        wrapped.passes.release()


def filled_size(count: int) -> int:
    """The size to which a batch of `count` images is filled: two sizes for each doubling, LEAST at least."""
    size = LEAST
    while size < count:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size
