"""The layers of VGG16 at any width, with or without batch norm, shared by two architectures."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

# Simonyan & Zisserman 2015, configuration D; 0 means max pooling.
_LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


def narrow_vgg16(width: float, classes: int, *, batch_norm: bool) -> nn.Module:
    """VGG16 with `width` times the channels; layer names and initial weights as in torchvision.

    torchvision's own class would first draw 120 M weights for its classifier, which takes seconds.
    """
    layers: list[nn.Module] = []
    inputs = 3
    for base in _LAYERS:
        if base == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        outputs = max(8, int(base * width))
        layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
        layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
        layers.append(nn.ReLU(inplace=True))
        inputs = outputs
    hidden = max(16, int(4096 * width))
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
