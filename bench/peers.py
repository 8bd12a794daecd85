"""PGD under linf as each peer's documentation runs it: one random start, the last iterate or the peer's own best one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn


class PeerAttack(Protocol):
    """From images float32 (N, 3, H, W) in [0, 1] and labels int64 (N,) to perturbed images; the model is in eval mode.

    eps and step_size are in pixel units. The peers draw from the global generators, which are seeded with `seed`.
    """

    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, step_size: float, steps: int, seed: int
    ) -> Tensor: ...


def by_torchattacks(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, step_size: float, steps: int, seed: int
) -> Tensor:
    """torchattacks.PGD (https://adversarial-attacks-pytorch.readthedocs.io)."""
    import torchattacks

    torch.manual_seed(seed)
    attack = torchattacks.PGD(model, eps=eps, alpha=step_size, steps=steps, random_start=True)
    perturbed: Tensor = attack(images, labels)
    return perturbed


def by_foolbox(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, step_size: float, steps: int, seed: int
) -> Tensor:
    """foolbox.attacks.LinfPGD (https://foolbox.readthedocs.io)."""
    import foolbox

    torch.manual_seed(seed)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
    attack = foolbox.attacks.LinfPGD(abs_stepsize=step_size, steps=steps, random_start=True)
    _, perturbed, _ = attack(wrapped, images, labels, epsilons=eps)
    clipped: Tensor = perturbed
    return clipped


def by_adv_lib(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, step_size: float, steps: int, seed: int
) -> Tensor:
    """adv_lib.attacks.pgd_linf (https://github.com/jeromerony/adversarial-library); unbroken images come back clean."""
    from adv_lib.attacks import pgd_linf

    torch.manual_seed(seed)
    perturbed: Tensor = pgd_linf(
        model, images, labels, eps, steps=steps, random_init=True, restarts=1, absolute_step_size=step_size
    )
    return perturbed


def by_art(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, step_size: float, steps: int, seed: int
) -> Tensor:
    """ART's ProjectedGradientDescent on a PyTorchClassifier (https://adversarial-robustness-toolbox.readthedocs.io)."""
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    np.random.seed(seed)  # ART draws its starts there
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), tuple(images.shape[1:]), classes,
        clip_values=(0.0, 1.0), device_type="cpu" if images.device.type == "cpu" else "gpu",
    )  # fmt: skip
    attack = ProjectedGradientDescent(
        classifier, norm=np.inf, eps=eps, eps_step=step_size, max_iter=steps, num_random_init=1,
        batch_size=len(images), verbose=False,
    )  # fmt: skip
    perturbed = attack.generate(images.cpu().numpy(), y=labels.cpu().numpy())
    return torch.from_numpy(perturbed).to(images.device)


ATTACKS: Mapping[str, PeerAttack] = {
    "torchattacks": by_torchattacks,
    "foolbox": by_foolbox,
    "adv-lib": by_adv_lib,
    "ART": by_art,
}
"""The peers' PGD, by the name that tables show."""
