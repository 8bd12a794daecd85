"""VGG16 (Simonyan & Zisserman 2015, https://arxiv.org/abs/1409.1556), as torchvision builds it or narrower."""

from __future__ import annotations

from typing import cast

import torchvision
from torch import Tensor, nn

TORCHVISION = True
LEARNING_RATE = 3e-4
"""Without batch norm it stays a constant answer at the usual one."""

# Simonyan & Zisserman 2015, configuration D; 0 is a max pooling.
_LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


def build(width: float, classes: int) -> nn.Module:
    """See skinaudit.trainer.architectures."""
    if width == 1.0:
        full: nn.Module = torchvision.models.vgg16(num_classes=classes)
        return full
    layers: list[nn.Module] = []
    inputs = 3
    for base in _LAYERS:
        if base == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        outputs = max(8, int(base * width))
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
        inputs = outputs
    hidden = max(16, int(4096 * width))
    # torchvision's VGG class would draw its own 120 M classifier weights first, which takes seconds.
    narrow = nn.Sequential()
    narrow.add_module("features", nn.Sequential(*layers))
    narrow.add_module("avgpool", nn.AdaptiveAvgPool2d(7))
    narrow.add_module("flatten", nn.Flatten())
    narrow.add_module("classifier", nn.Sequential(
        nn.Linear(inputs * 7 * 7, hidden), nn.ReLU(True), nn.Dropout(0.5),
        nn.Linear(hidden, hidden), nn.ReLU(True), nn.Dropout(0.5), nn.Linear(hidden, classes),
    ))  # fmt: skip
    for layer in narrow.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.zeros_(cast(Tensor, layer.bias))
    return narrow
