"""VGG16 (Simonyan & Zisserman 2015, https://arxiv.org/abs/1409.1556), as in torchvision or narrower."""

from __future__ import annotations

import torchvision
from torch import nn

from skinaudit.trainer.architectures._vgg import narrow_vgg16

TORCHVISION = True
LEARNING_RATE = 3e-4
"""With the usual learning rate, VGG16 without batch norm keeps giving a constant answer."""


def build(width: float, classes: int) -> nn.Module:
    """See skinaudit.trainer.architectures."""
    if width == 1.0:
        full: nn.Module = torchvision.models.vgg16(num_classes=classes)
        return full
    return narrow_vgg16(width, classes, batch_norm=False)
