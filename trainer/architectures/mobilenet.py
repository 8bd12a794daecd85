"""MobileNet v1 (Howard et al. 2017, https://arxiv.org/abs/1704.04861)."""

from __future__ import annotations

import math

from torch import nn

# Howard et al. 2017, table 1: output channels and stride of the thirteen depthwise separable blocks.
_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
# Value of the original implementation. Channels that are dead in training have a running variance near 0. With torch's 1e-5,
# a rare image that activates one is multiplied by hundreds, layer after layer (logits of 5e6 were seen on two test images).
_BATCH_NORM_EPS = 1e-3


def build(width: float, classes: int) -> nn.Module:
    """See skinaudit.trainer.architectures."""

    def channels(base: int) -> int:
        return max(8, int(base * width))

    layers: list[nn.Module] = [_conv_bn(3, channels(32), stride=2)]
    inputs = channels(32)
    for base, stride in _BLOCKS:
        layers += [_conv_bn(inputs, inputs, stride=stride, groups=inputs), _conv_bn(inputs, channels(base), kernel=1)]
        inputs = channels(base)
    return nn.Sequential(
        nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(inputs, classes)
    )


def _conv_bn(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    # kaiming_normal_ ignores groups, so depthwise weights would be too small by the square root of the channels. Until the
    # running statistics have adapted, the model in evaluation mode (which hardening attacks) would give constant answers.
    nn.init.normal_(convolution.weight, 0, math.sqrt(2 * groups / (kernel * kernel * outputs)))
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, eps=_BATCH_NORM_EPS), nn.ReLU(inplace=True))
