"""Models with fresh weights that are not as regular as fresh models are."""

from __future__ import annotations

import torch
from torch import nn

from skinaudit.trainer.models import build


def drawn(arch: str, width: float = 0.25, *, biases: bool = False) -> nn.Module:
    """A model in evaluation mode, for 32 x 32 pixels, always the same one, with statistics that differ, as after a training.

    biases: whether the biases of its convolutions differ from 0, too.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(arch, width=width, size=32).eval()
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
            elif biases and isinstance(layer, nn.Conv2d) and layer.bias is not None:
                layer.bias.data.normal_(0, 0.1)
    return model
