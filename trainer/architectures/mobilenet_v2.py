"""MobileNetV2 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381), as torchvision builds it."""

from __future__ import annotations

import torchvision
from torch import nn

TORCHVISION = True


def build(width: float, classes: int) -> nn.Module:
    """See skinaudit.trainer.architectures."""
    model: nn.Module = torchvision.models.mobilenet_v2(width_mult=width, num_classes=classes)
    return model
