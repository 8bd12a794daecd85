"""PGD adversarial training (Madry et al. 2018, https://arxiv.org/abs/1706.06083): train on the worst images nearby."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from skinaudit.trainer.ascent import losses
from skinaudit.trainer.ascent.losses import Loss
from skinaudit.trainer.inner_attack import Batch

SETTINGS: Mapping[str, Any] = {"ascend": "cross-entropy"}
STEPS: int | None = None
MIXES = True

_ASCENDED: Mapping[str, Loss] = {"margin": losses.margin, "dlr": losses.dlr}
CHOICES: Mapping[str, tuple[str, ...]] = {"ascend": ("cross-entropy", "adjusted", *_ASCENDED)}


def perturb(batch: Batch, *, ascend: str) -> Tensor:
    """Attack all but the clean images of the batch.

    ascend: loss of the inner attack. `cross-entropy`; `adjusted`, the cross-entropy with logit adjustment; `margin` (Carlini
    and Wagner 2017); or `dlr` (Croce and Hein 2020).
    """
    return batch.ascend(batch.attacked.now(), loss=_loss_named(ascend, batch))


def loss(batch: Batch, perturbed: Tensor, *, ascend: str) -> tuple[Tensor, Tensor]:
    """The objective on the perturbed images."""
    logits = batch.logits(perturbed)
    return batch.objective(logits, batch.labels), logits


def _loss_named(name: str, batch: Batch) -> Loss | None:
    if name == "cross-entropy":
        return None
    if name == "adjusted":
        return lambda logits, labels, _: functional.cross_entropy(
            batch.objective.adjusted(logits), labels, reduction="none"
        )  # fmt: skip
    return _ASCENDED[name]
