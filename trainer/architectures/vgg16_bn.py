"""VGG16 with batch norm after each convolution, as in torchvision or narrower.

Simonyan & Zisserman 2015 (https://arxiv.org/abs/1409.1556) with the layers of Ioffe & Szegedy 2015
(https://arxiv.org/abs/1502.03167).
"""

from __future__ import annotations

import torchvision
from torch import nn

from skinaudit.trainer.architectures._vgg import narrow_vgg16

TORCHVISION = True


def build(width: float, classes: int) -> nn.Module:
    """See skinaudit.trainer.architectures."""
    if width == 1.0:
        full: nn.Module = torchvision.models.vgg16_bn(num_classes=classes)
        return full
    return narrow_vgg16(width, classes, batch_norm=True)
