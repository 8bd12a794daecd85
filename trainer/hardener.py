"""Hardening in the training loop: the batches of a method, and gradients at adversarially perturbed weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.errors import InvalidInputError
from skinaudit.trainer import hardening
from skinaudit.trainer.computing import FP32, Computing
from skinaudit.trainer.half_passes import HalfPasses
from skinaudit.trainer.inner_attack import AttackedCopy, Batch
from skinaudit.trainer.models import build, folded
from skinaudit.trainer.objective import Objective
from skinaudit.trainer.recipes import Hardening

_TINY = 1e-12  # smallest norm by which is divided


def check_half_attack(computing: Computing, chosen: Hardening | None, *, arch: str, for_int8: float) -> None:
    """Raise InvalidInputError if `bf16-attack` is asked for, but would do nothing or cannot follow the model.

    for_int8: share of the epochs for int8.
    """
    if computing.precision != "bf16-attack":
        return
    if chosen is None or not getattr(hardening.load(chosen.method)[0], "ASCENDS", True):
        where = "without hardening" if chosen is None else f"in hardening {chosen.method}"
        raise InvalidInputError(f"--precision bf16-attack: {where} there is no attack to compute; leave it out")
    if chosen.batch_norm == "train":
        raise InvalidInputError("--precision bf16-attack: needs --attack-batch-norm eval")
    if for_int8:
        raise InvalidInputError("--precision bf16-attack: not with --for-int8, whose layers it cannot follow; leave one out")
    HalfPasses(folded(build(arch, width=0.1, size=32)))  # refuses other architectures


class Hardener:
    """State of a hardened training: the attacked copy of the model, and what its method keeps between batches.

    function: `model` as it is trained. classes: names in the order of the columns. repeats: how often each batch is trained
    on.
    """

    def __init__(
        self,
        model: nn.Module,
        chosen: Hardening,
        *,
        function: Callable[[Tensor], Tensor],
        objective: Objective,
        classes: Sequence[str],
        computing: Computing = FP32,
    ) -> None:
        self._method, self._settings = hardening.load(chosen.method, chosen.settings)
        self._model, self._function, self._chosen = model, function, chosen
        self._objective, self._classes = objective, classes
        self._attacked = AttackedCopy(model, batch_norm=chosen.batch_norm, computing=computing, steps=chosen.steps)
        self.repeats: int = self._settings.get("repeats", 1)
        self.begin(torch.Generator())

    def begin(self, generator: torch.Generator) -> None:
        """Begin an epoch. generator: for its attacks, on the device of the images."""
        self._generator = generator
        self._carried: dict[str, Any] = {}

    def batch(self, images: Tensor, labels: Tensor, *, share: float) -> Batch | None:
        """The batch in the method's form after `share` (0 to 1) of the training; None in the warm-up.

        images: float32 (N, 3, H, W). labels: int64 (N,).
        """
        radii = [self._chosen.at(share, class_name=name) for name in self._classes]
        threat_models = tuple(threat_model for threat_model in radii if threat_model is not None)
        if not threat_models:
            return None
        clean = round(self._chosen.clean_share * len(images))
        if self._chosen.batch_norm == "train" and clean < len(images):
            clean = min(clean, max(0, len(images) - 2))  # a single image has no batch statistics
        return Batch(
            self._function, self._attacked, images, labels, self._objective, threat_models,
            steps=self._chosen.steps, clean=clean, generator=self._generator, carried=self._carried,
        )  # fmt: skip

    def perturb(self, batch: Batch) -> Tensor:
        """The images to train on, float32 (N, 3, H, W). Weights and running statistics do not change."""
        return self._method.perturb(batch, **self._settings)

    def loss(self, batch: Batch, perturbed: Tensor) -> tuple[Tensor, Tensor]:
        """The method's loss, and the logits (N, classes) from which it was computed."""
        return self._method.loss(batch, perturbed, **self._settings)

    @property
    def sharpens(self) -> bool:
        """Whether `sharpen` changes the gradients."""
        return bool(self._chosen.awp)

    def sharpen(self, batch: Batch, perturbed: Tensor) -> None:
        """Replace the gradients by those at adversarially perturbed weights."""
        fixed = perturbed.detach()
        move_weights_against(self._model, lambda: self.loss(batch, fixed)[0], gamma=self._chosen.awp)


def repeats_of(chosen: Hardening | None) -> int:
    """How often each batch is trained on."""
    if chosen is None:
        return 1
    repeats: int = hardening.load(chosen.method, chosen.settings)[1].get("repeats", 1)
    return repeats


def move_weights_against(model: nn.Module, loss: Callable[[], Tensor], *, gamma: float) -> None:
    """Replace the gradients by those of `loss` at weights that were moved to increase the loss; then restore the weights.

    Adversarial weight perturbation (Wu et al. 2020, https://arxiv.org/abs/2004.05884): each weight tensor moves along its
    gradient by `gamma` times its norm; biases and batch norm do not move. The gradients at the original weights must be
    present. Running statistics stay those of the original weights.
    """
    weights = [weight for weight in model.parameters() if weight.grad is not None and weight.ndim > 1]
    before = [weight.detach().clone() for weight in weights]
    buffers = [buffer.clone() for buffer in model.buffers()]
    with torch.no_grad():
        for weight in weights:
            assert weight.grad is not None
            weight.add_(weight.grad * (gamma * weight.norm() / (weight.grad.norm() + _TINY)))
    model.zero_grad(set_to_none=True)
    loss().backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weight, kept in zip(weights, before, strict=True):
            weight.copy_(kept)
        for buffer, kept in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(kept)
