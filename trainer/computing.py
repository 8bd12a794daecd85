"""How a training computes: precision, compilation, and CUDA graphs, so that a GPU does not wait for Python."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from skinaudit.errors import InvalidInputError, MissingDependencyError, reason_of
from skinaudit.trainer.half_passes import has_matrix_units
from skinaudit.true_fp32 import true_fp32

Precision = Literal["fp32", "tf32", "bf16", "bf16-attack"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Computing:
    """Arithmetic of the training steps and of the attack inside them. Validation and stored values are always fp32.

    precision: `bf16` runs convolutions and linear layers in bfloat16 (autocast) with float32 weights; `tf32` lets cuDNN
    round the inputs of convolutions to 10 bits of mantissa, torch's default on a GPU; `fp32` does neither. `bf16-attack` is
    fp32 except for the attack, see `half_passes`. compiled: compile the training step with torch.compile. cuda_graphs: run
    the attack as one CUDA graph, see `recorded_steps`.
    """

    precision: Precision = "fp32"
    compiled: bool = False
    cuda_graphs: bool = False

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"precision": self.precision, "compiled": self.compiled, "cuda_graphs": self.cuda_graphs}


FP32 = Computing()


def training_device() -> torch.device:
    """The device for training: a GPU if torch finds one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def usual_precision(device: torch.device) -> Precision:
    """The default precision of a training on this device, which is torch's own default."""
    return "tf32" if device.type == "cuda" else "fp32"


def check_computing(computing: Computing, device: torch.device) -> None:
    """Raise InvalidInputError if the device lacks the precision, MissingDependencyError without torch's compiler."""
    if computing.precision == "tf32" and device.type != "cuda":
        raise InvalidInputError("--precision tf32: needs an NVIDIA GPU, and torch finds none here; choose fp32 or bf16")
    if computing.precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise InvalidInputError(f"--precision bf16: {torch.cuda.get_device_name(device)} has none; choose tf32 or fp32")
    if computing.precision == "bf16-attack" and (device.type != "cpu" or not has_matrix_units()):
        raise InvalidInputError("--precision bf16-attack: needs a CPU with matrix units for bf16 (AMX); leave it out")
    if computing.cuda_graphs and device.type != "cuda":
        raise InvalidInputError("--cuda-graphs: needs an NVIDIA GPU, and torch finds none here; leave it out")
    if computing.compiled and not _can_compile(device):
        raise MissingDependencyError("--compile: torch.compile finds no compiler for this device; leave --compile out")


def _can_compile(device: torch.device) -> bool:
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return bool(has_triton())
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        return bool(get_cpp_compiler())
    except RuntimeError:
        return False


@contextlib.contextmanager
def arithmetic(computing: Computing, device: torch.device) -> Iterator[None]:
    """Inside this block, GPU computations without autocast are fp32 or TF32, as `computing` says."""
    if device.type == "cuda" and computing.precision == "fp32":
        with true_fp32():
            yield
    else:  # torch's own settings: TF32 in convolutions
        yield


class InBf16(nn.Module):
    """A model whose convolutions and linear layers compute in bfloat16; its logits are float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        # Without the cache of casts, which a CUDA graph cannot contain; no weight is used twice in one pass.
        with torch.autocast(images.device.type, torch.bfloat16, cache_enabled=False):
            logits: Tensor = self.model(images)
        return logits.float()


def in_precision(model: nn.Module, precision: Precision) -> nn.Module:
    """This model as a function in a training precision; it shares the model's weights."""
    return InBf16(model) if precision == "bf16" else model


@torch.no_grad()
def round_weights(frozen: nn.Module) -> None:
    """Store the weights of convolutions and linear layers in bfloat16, so InBf16 need not round them in every pass."""
    for layer in frozen.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.to(torch.bfloat16)


def training_function(model: nn.Module, computing: Computing, *, batch: int) -> Callable[[Tensor], Tensor]:
    """From images (N, 3, H, W) to logits with gradients for the weights of `model`, computed as `computing` says.

    Batches of another size than `batch`, such as the last of an epoch, are not compiled, because each size costs a
    compilation. Raises MissingDependencyError at the first batch if the compiler fails.
    """
    plain = in_precision(model, computing.precision)
    if not computing.compiled:
        return plain
    compiled = torch.compile(plain, dynamic=False)

    def function(images: Tensor) -> Tensor:
        try:
            logits: Tensor = (compiled if len(images) == batch else plain)(images)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise MissingDependencyError(
                f"--compile: torch.compile failed ({reason_of(error)}); leave --compile out"
            ) from error
        return logits

    return function


def put(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to `device`. The CPU does not wait until the GPU has done this and the work before it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
