"""Passes in bfloat16 on CPUs whose matrix units compute in it (AMX), for the attack inside a training.

torch's autocast is slow there: oneDNN has no fast backward pass in bfloat16 for depthwise convolutions with a stride.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.errors import InvalidInputError
from skinaudit.trainer.input_gradients.fused import joined
from skinaudit.trainer.input_gradients.links import ConvolutionReLU


def has_matrix_units() -> bool:
    """Whether this CPU multiplies matrices of bfloat16 in hardware, and torch can use it."""
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return there and supported is not None and bool(supported())


class HalfPasses(nn.Module):
    """A frozen model whose convolutions compute in bfloat16, forward and backward; images and logits are float32.

    It keeps the weights of the moment in bfloat16: call `renew` when they have changed. Raises InvalidInputError if the
    model is not one sequence of layers whose convolutions have a ReLU each, such as a folded MobileNet v1 or VGG16.
    """

    def __init__(self, frozen: nn.Module) -> None:
        super().__init__()
        layers = joined(frozen)
        places = [place for place, layer in enumerate(layers) if isinstance(layer, ConvolutionReLU)]
        between = layers[places[0] : places[-1] + 1] if places else []
        if not between or not all(isinstance(layer, (ConvolutionReLU, nn.MaxPool2d)) for layer in between):
            raise InvalidInputError(
                "--precision bf16-attack: only for one sequence of convolutions with a ReLU each, as in mobilenet, vgg16 "
                "and vgg16_bn, and not for models trained for int8; leave it out"
            )
        self.layers = nn.Sequential(
            *layers[: places[0]],
            *(_Rounded(layer) if isinstance(layer, ConvolutionReLU) else layer for layer in between),
            _ToFloat32(),
            *layers[places[-1] + 1 :],
        )

    def renew(self) -> None:
        """Round the present weights of the model."""
        for layer in self.layers:
            if isinstance(layer, _Rounded):
                layer.renew()

    def forward(self, images: Tensor) -> Tensor:
        """The logits (N, classes) of images float32 (N, 3, H, W)."""
        logits: Tensor = self.layers(images)
        return logits


class _ToFloat32(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float()


class _Rounded(nn.Module):
    """A convolution with its ReLU. If its input is float32, so is its forward pass: the first one must see small changes."""

    def __init__(self, exact: ConvolutionReLU) -> None:
        super().__init__()
        self.convolution = own = exact.convolution
        depthwise = own.groups == own.in_channels == own.out_channels
        self.spread = depthwise and (own.stride, own.kernel_size, own.padding) == ((2, 2), (3, 3), (1, 1))
        self.renew()

    def renew(self) -> None:
        own = self.convolution
        self.weight = own.weight.detach().to(torch.bfloat16)
        self.bias = None if own.bias is None else own.bias.detach().to(torch.bfloat16)
        self.turned = self.weight.flip(2, 3).contiguous() if self.spread else None

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = _Function.apply(images, self)
        return answer


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor, layer: _Rounded) -> Tensor:
        own = layer.convolution
        exact = images.dtype == torch.float32
        weight, bias = (own.weight, own.bias) if exact else (layer.weight, layer.bias)
        clamped: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, weight, bias, own.padding, own.stride, own.dilation, own.groups, "relu", [], ""
        ).to(torch.bfloat16)
        context.save_for_backward(clamped)
        context.layer, context.images = layer, (images.shape, images.dtype)
        return clamped

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (clamped,), layer, own = context.saved_tensors, context.layer, context.layer.convolution
        shape, dtype = context.images
        # Not in place: that takes longer in bfloat16.
        masked = torch.ops.aten.threshold_backward(gradients[0], clamped, 0)
        images = torch.empty(shape, dtype=torch.bfloat16, memory_format=torch.channels_last)
        if layer.turned is None:
            # The values of the images are not read, because the gradient of the weights is not asked for.
            (moved, _, _) = torch.ops.aten.convolution_backward(
                masked, images, layer.weight, [len(layer.weight)], own.stride, own.padding, own.dilation, False, [0, 0],
                own.groups, (True, False, False),
            )  # fmt: skip
        else:  # the same as a convolution of the gradients, spread with zeros between them
            images.zero_()[:, :, ::2, ::2] = masked
            moved = torch.ops.mkldnn._convolution_pointwise(
                images, layer.turned, None, (1, 1), (1, 1), (1, 1), own.groups, "none", [], ""
            )
        return moved.to(dtype), None
