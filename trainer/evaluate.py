"""Answers of a source model to a set of images, clean or attacked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.attacks import pgd
from skinaudit.trainer.few_sizes import few_sizes
from skinaudit.trainer.input_gradients.fused import fused
from skinaudit.true_fp32 import true_fp32

STOP_MARGIN = 0.05
"""Lead of a wrong logit from which an image counts as broken and costs no more steps."""

_FEW = 0.25
"""With fewer answers of other classes, as a share of their images, a model counts as constant; see `one_class`."""

SETTLE = 1.5
"""An image counts as held and costs no more steps if it is far from wrong and SETTLE times the largest linear gain in the
ball could not break it; see `ascent.settling`.
"""


def to_pixels(images: NDArray[np.uint8], *, device: torch.device) -> Tensor:
    """uint8 (N, 3, H, W) as float32 in [0, 1] by division by 255, the value that every engine computes."""
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).float().div_(255)


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's weights."""
    return next(model.parameters()).device


def slices(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` that cover range(count)."""
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))


@true_fp32()
@torch.no_grad()
def logits_of(model: nn.Module, images: NDArray[np.uint8], *, batch: int = 256) -> NDArray[np.float32]:
    """The model's logits, float32 (N, classes), for uint8 (N, 3, H, W); the model must be in evaluation mode.

    Computed in fp32 on any device, without TF32.
    """
    device = device_of(model)
    answers = [
        model(to_pixels(images[part], device=device).contiguous(memory_format=torch.channels_last)).cpu().numpy()
        for part in slices(len(images), batch)
    ]
    return np.concatenate(answers).astype(np.float32)


@true_fp32()
def pgd_predictions(
    model: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    threat_model: ThreatModel,
    steps: int,
    seed: int,
    batch: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """Predictions (N,) under PGD with falling steps, for measuring, not for storing.

    With large first steps most images are decided early, and the small last ones find more than steps of one size do. An
    image leaves once it is broken by STOP_MARGIN or held by SETTLE. images: uint8 (N, 3, H, W). labels: int64 (N,). batch:
    images attacked at once; by default what suits the device. The model must be in evaluation mode, best folded. Computed
    in fp32 on any device.
    """
    device = device_of(model)
    model = few_sizes(fused(model), device)
    generator = torch.Generator(device).manual_seed(seed)
    answers = []
    for part in slices(len(labels), _attacked_at_once(images, device) if batch is None else batch):
        truth = torch.from_numpy(labels[part]).to(device)
        perturbed = pgd.attack(
            model, to_pixels(images[part], device=device), truth,
            threat_model=threat_model, generator=generator, steps=steps, schedule="cosine",
            stop_margin=STOP_MARGIN, settle=SETTLE,
        )  # fmt: skip
        with torch.no_grad():
            answers.append(model(perturbed.contiguous(memory_format=torch.channels_last)).argmax(1).cpu().numpy())
        if progress is not None:
            progress(part.stop, len(labels))
    return np.concatenate(answers)


def _attacked_at_once(images: NDArray[np.uint8], device: torch.device) -> int:
    """Enough images to keep a GPU busy: 512 of 64x64, 41 of 224x224."""
    return 200 if device.type == "cpu" else max(32, 2**21 // (images.shape[-1] * images.shape[-2]))


def one_class(predictions: NDArray[np.int64], labels: NDArray[np.int64]) -> tuple[int, float] | None:
    """The class of (nearly) all answers, and its share of the answers; None if the answers are mixed enough.

    They are mixed enough if other classes get at least a quarter as many answers as they have images. Both arguments: (N,).
    """
    answered = np.bincount(predictions)
    most = int(answered.argmax())
    other_answers, other_images = len(predictions) - int(answered[most]), int((labels != most).sum())
    if other_images == 0 or other_answers >= _FEW * other_images:
        return None
    return most, float(answered[most] / len(predictions))


def accuracies(predictions: NDArray[np.int64], labels: NDArray[np.int64], *, classes: int) -> dict[str, float]:
    """Accuracy, and balanced accuracy (mean sensitivity over the classes present), as shares of 1."""
    correct = predictions == labels
    present = [c for c in range(classes) if (labels == c).any()]
    sensitivity = [float(correct[labels == c].mean()) for c in present]
    return {"accuracy": float(correct.mean()), "balanced_accuracy": float(np.mean(sensitivity))}
