"""PGD adversarial training (Madry et al. 2018): replace training images by the worst ones near them."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from skinaudit.trainer.attacks import pgd
from skinaudit.trainer.computing import FP32, Computing, in_precision, round_weights
from skinaudit.trainer.models import channels_last, folded, refold
from skinaudit.trainer.recipes import Hardening
from skinaudit.trainer.recorded_steps import RecordedSteps


class AttackedCopy:
    """The function that the inner attack ascends: a frozen copy that follows a model in training.

    batch_norm: `eval` has the running statistics folded in, `train` uses those of the batch. computing: the precision of its
    passes, and whether `recorded_steps` may record them.
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
        self._function = in_precision(self._copy, computing.precision)
        self.recorded = RecordedSteps(self.now, steps=steps) if computing.cuda_graphs else None

    def now(self) -> nn.Module:
        """The copy, with the weights and statistics that the model has at this moment."""
        if self._folded:
            refold(self._copy, self._model)
        else:
            self._copy.load_state_dict(self._model.state_dict())
        return self._function


def attacked_copy(model: nn.Module, hardening: Hardening | None, computing: Computing) -> AttackedCopy | None:
    """The copy that this hardening attacks; None without hardening."""
    if hardening is None:
        return None
    return AttackedCopy(model, batch_norm=hardening.batch_norm, computing=computing, steps=hardening.steps)


def harden_batch(
    attacked: AttackedCopy, images: Tensor, labels: Tensor, *, hardening: Hardening, share: float, generator: torch.Generator
) -> Tensor:
    """The batch float32 (N, 3, H, W) with all but the first `clean_share` of its images replaced by adversarial ones.

    attacked: of the model in training, in the hardening's batch-norm mode. share: how much of the training is done, 0 to 1;
    it sets eps on the ramp. The attack runs on the frozen copy: only input gradients are computed, and neither weights nor
    the running statistics of the model in training are touched.
    """
    threat_model = hardening.at(share)
    clean = round(hardening.clean_share * len(images))
    if threat_model is None or clean == len(images):
        return images
    if hardening.batch_norm == "train":
        clean = min(clean, max(0, len(images) - 2))  # one image has no batch statistics
    recorded, attacked_images = attacked.recorded, images[clean:]
    if recorded is not None and recorded.fits(attacked_images, threat_model):
        perturbed = recorded.attack(attacked_images, labels[clean:], threat_model=threat_model, generator=generator)
    else:
        perturbed = pgd.attack(
            attacked.now(), attacked_images, labels[clean:],
            threat_model=threat_model, generator=generator, steps=hardening.steps, keep="last",
        )  # fmt: skip
    return torch.cat([images[:clean], perturbed])
