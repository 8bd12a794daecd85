"""The inner attack of hardening: one batch, the frozen copy that is attacked, and PGD within each image's radius."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.ascent.losses import Loss
from skinaudit.trainer.attacks import pgd
from skinaudit.trainer.computing import FP32, Computing, Precision, in_precision, round_weights
from skinaudit.trainer.half_passes import HalfPasses
from skinaudit.trainer.input_gradients.fused import fused
from skinaudit.trainer.models import channels_last, folded, refold
from skinaudit.trainer.objective import Objective
from skinaudit.trainer.recorded_steps import RecordedSteps


class AttackedCopy:
    """The function that the inner attack sees: a frozen copy that follows a model in training.

    batch_norm: `eval` folds the running statistics in, `train` uses those of the batch. computing: precision of its passes,
    and whether `recorded_steps` may record them.
    """

    def __init__(
        self, model: nn.Module, *, batch_norm: Literal["eval", "train"], computing: Computing = FP32, steps: int = 0
    ) -> None:
        self._model, self._folded = model, batch_norm == "eval"
        self._copy = folded(model) if self._folded else channels_last(copy.deepcopy(model).train().requires_grad_(False))
        for layer in self._copy.modules():
            if isinstance(layer, nn.Dropout):
                layer.eval()
        if computing.precision == "bf16":
            round_weights(self._copy)
        self._function = _in_precision(self._copy, computing.precision)
        self.recorded = RecordedSteps(self.now, steps=steps) if computing.cuda_graphs else None

    def now(self) -> nn.Module:
        """The copy with the present weights and statistics of the model."""
        if self._folded:
            refold(self._copy, self._model)
        else:
            self._copy.load_state_dict(self._model.state_dict())
        if isinstance(self._function, HalfPasses):
            self._function.renew()
        return self._function


def _in_precision(frozen: nn.Module, precision: Precision) -> nn.Module:
    if precision == "bf16-attack":
        return HalfPasses(frozen)
    return fused(frozen) if precision == "fp32" else in_precision(frozen, precision)


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch of hardening and the objects that its method uses.

    function: the model in training, with gradients for its weights. attacked: its copy for the inner attack. images: float32
    (N, 3, H, W) in [0, 1], clean. labels: int64 (N,). objective: loss of the recipe. threat_models: at this moment of the
    training, one per class. steps: of the inner attack. clean: number of images, the first ones, that stay clean. carried:
    what a method keeps from batch to batch of an epoch.
    """

    function: Callable[[Tensor], Tensor]
    attacked: AttackedCopy
    images: Tensor
    labels: Tensor
    objective: Objective
    threat_models: tuple[ThreatModel, ...]
    steps: int
    clean: int
    generator: torch.Generator
    carried: dict[str, Any] = field(default_factory=dict)

    def logits(self, images: Tensor) -> Tensor:
        """Answers of the model in training: (N, classes), with a graph."""
        return self.function(images.contiguous(memory_format=torch.channels_last))

    def radii(self) -> Tensor:
        """Eps of each image in pixel units: (N, 1, 1, 1)."""
        eps = torch.tensor([threat_model.eps for threat_model in self.threat_models], device=self.images.device)
        return eps[self.labels].view(-1, 1, 1, 1)

    def ascend(
        self,
        attacked: nn.Module,
        *,
        targets: Tensor | None = None,
        loss: Loss | None = None,
        step_share: float | None = None,
    ) -> Tensor:
        """All but the clean images moved within their radius by PGD on the copy, without a graph.

        targets: what `loss` gets instead of the labels, (N, ...). loss: None for the cross-entropy. step_share: step size in
        units of eps; None for Madry's 2.5 / steps.
        """
        if self.clean == len(self.images):
            return self.images
        targets = self.labels if targets is None else targets
        recorded = self.attacked.recorded if loss is None and step_share is None else None
        moved = self.images.clone()
        for threat_model, chosen in self._groups():
            images = self.images[chosen]
            if recorded is not None and recorded.fits(images, threat_model):
                moved[chosen] = recorded.attack(
                    images, targets[chosen], threat_model=threat_model, generator=self.generator
                )  # fmt: skip
                continue
            moved[chosen] = pgd.attack(
                attacked, images, targets[chosen],
                threat_model=threat_model, generator=self.generator, steps=self.steps, keep="last", ascended=loss,
                step_size=None if step_share is None else step_share * threat_model.eps,
            )  # fmt: skip
        return moved

    def _groups(self) -> Iterator[tuple[ThreatModel, Tensor | slice]]:
        """The attacked images, grouped by radius."""
        kinds = sorted(set(self.threat_models), key=lambda threat_model: threat_model.eps_255)
        if len(kinds) == 1:
            yield kinds[0], slice(self.clean, None)
            return
        later = torch.arange(len(self.labels), device=self.labels.device) >= self.clean
        for threat_model in kinds:
            has = torch.tensor([of_class == threat_model for of_class in self.threat_models], device=self.labels.device)
            chosen = (has[self.labels] & later).nonzero().squeeze(1)
            if len(chosen):
                yield threat_model, chosen
