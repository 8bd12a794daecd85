"""The classifiers: MobileNet v1, MobileNetV2 and VGG16, each taking pixels in [0, 1] and normalising them first."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal, cast, get_args

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from skinaudit.errors import InvalidInputError

Arch = Literal["mobilenet", "mobilenet_v2", "vgg16"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Howard et al. 2017, table 1: output channels and stride of the thirteen depthwise separable blocks.
_MOBILENET_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
# That of the original implementation. Channels that are dead in training have a running variance near 0; with torch's 1e-5
# the rare image that wakes one up is multiplied by hundreds, layer after layer (logits of 5e6 were seen on two test images).
_BATCH_NORM_EPS = 1e-3
# Simonyan & Zisserman 2015, configuration D; 0 is a max pooling.
_VGG16_LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


class Normalise(nn.Module):
    """Per-channel (x - mean) / std as the model's first layer, so that eps stays in pixel units."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


def build(arch: str, *, width: float = 1.0, classes: int = 7, size: int = 224) -> nn.Module:
    """Build a classifier with fresh weights from torch's global generator (seed it around the call).

    Input float32 RGB (N, 3, size, size) in [0, 1], output logits (N, classes). `width` multiplies the channels;
    the resolution multiplier of MobileNet is `size`. Raises InvalidInputError on an unknown arch or a size too small.
    """
    if arch not in _BUILDERS:
        raise InvalidInputError(f"arch {arch!r}: choose one of {', '.join(get_args(Arch))}")
    if not 0 < width <= 4:
        raise InvalidInputError(f"width {width}: must be above 0 and at most 4")
    if size < 32:
        raise InvalidInputError(f"size {size}: {arch} reduces the image 32 times and needs at least 32 pixels")
    return nn.Sequential(Normalise(), _BUILDERS[arch](width, classes))


def parameter_count(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def folded(model: nn.Module) -> nn.Module:
    """A frozen copy in evaluation mode, batch norm folded into the convolutions, channels last: the same function, faster.

    Meant for input gradients and inference. Equal to `model.eval()` up to float32 rounding; the weights are detached.
    """
    substitutes: dict[int, nn.Module] = {}  # by identity, as deepcopy's memo: what is folded away is never copied
    for _, convolution, norm in _foldable(model):
        substitutes |= {id(convolution): _blank(convolution), id(norm): nn.Identity()}
    frozen = channels_last(copy.deepcopy(model, substitutes).eval().requires_grad_(False))
    refold(frozen, model)
    return frozen


def _blank(convolution: nn.Conv2d) -> nn.Conv2d:
    """A convolution of the same shape, with a bias, whose weights are not set."""
    weight = nn.Parameter(torch.empty_like(convolution.weight))
    blank = copy.deepcopy(convolution, {id(convolution.weight): weight})
    blank.bias = nn.Parameter(torch.empty_like(weight[:, 0, 0, 0]))
    return blank


@torch.no_grad()
def refold(frozen: nn.Module, model: nn.Module) -> None:
    """Bring `frozen`, once folded from `model`, up to date with weights and statistics that have moved since."""
    values: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for path, convolution, norm in _foldable(model):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        values[f"{path}.weight"], values[f"{path}.bias"] = fuse_conv_bn_weights(
            convolution.weight, convolution.bias,
            norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias,
        )  # fmt: skip
    for name, tensor in (*frozen.named_parameters(), *frozen.named_buffers()):
        tensor.copy_(values[name])


def _foldable(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution that a batch norm follows, with its path in the model."""
    for path, parent in model.named_modules():
        for (name, layer), (_, following) in pairwise(parent.named_children()):
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                yield f"{path}.{name}" if path else name, layer, following


def channels_last(model: nn.Module) -> nn.Module:
    """The same module with its convolution weights in channels-last memory order, about 1.9 times as fast on a CPU."""
    return model.to(memory_format=torch.channels_last)


def _mobilenet(width: float, classes: int) -> nn.Module:
    def channels(base: int) -> int:
        return max(8, int(base * width))

    layers: list[nn.Module] = [_conv_bn(3, channels(32), stride=2)]
    inputs = channels(32)
    for base, stride in _MOBILENET_BLOCKS:
        layers += [_conv_bn(inputs, inputs, stride=stride, groups=inputs), _conv_bn(inputs, channels(base), kernel=1)]
        inputs = channels(base)
    return nn.Sequential(
        nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(inputs, classes)
    )


def _conv_bn(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    # kaiming_normal_ ignores groups and would leave depthwise weights too small by the root of the channels: until the
    # running statistics have caught up, the model in evaluation mode (which hardening attacks) would be constant.
    nn.init.normal_(convolution.weight, 0, math.sqrt(2 * groups / (kernel * kernel * outputs)))
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, eps=_BATCH_NORM_EPS), nn.ReLU(inplace=True))


def _mobilenet_v2(width: float, classes: int) -> nn.Module:
    model: nn.Module = torchvision.models.mobilenet_v2(width_mult=width, num_classes=classes)
    return model


def _vgg16(width: float, classes: int) -> nn.Module:
    if width == 1.0:
        full: nn.Module = torchvision.models.vgg16(num_classes=classes)
        return full
    layers: list[nn.Module] = []
    inputs = 3
    for base in _VGG16_LAYERS:
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


_BUILDERS: dict[str, Callable[[float, int], nn.Module]] = {
    "mobilenet": _mobilenet,
    "mobilenet_v2": _mobilenet_v2,
    "vgg16": _vgg16,
}
