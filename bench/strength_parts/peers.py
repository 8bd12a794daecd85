"""Any attack of each peer by its name in that library, for a trained model in evaluation mode."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel

Crafted = Callable[[Tensor, Tensor], Tensor]
"""From images float32 (N, 3, H, W) in [0, 1] and labels int64 (N,) to perturbed images."""
Maker = Callable[[nn.Module, ThreatModel], Crafted]
"""An attack with its settings, made for a model and a radius."""


@dataclass(frozen=True)
class Case:
    """What a setting may depend on: eps in pixel units, and the number of classes."""

    eps: float
    classes: int


def of_torchattacks(name: str, **settings: Any) -> Maker:
    """torchattacks' class of this name. A setting that is a function is called with the Case."""

    def made(model: nn.Module, threat_model: ThreatModel) -> Crafted:
        import torchattacks

        attack: Crafted = getattr(torchattacks, name)(model, **_filled(settings, model, threat_model))
        return attack

    return _seeded(made)


def of_foolbox(name: str, **settings: Any) -> Maker:
    """The class of this name in foolbox.attacks. What one that looks for the smallest perturbation finds is not clipped."""

    def made(model: nn.Module, threat_model: ThreatModel) -> Crafted:
        import foolbox

        attack = getattr(foolbox.attacks, name)(**_filled(settings, model, threat_model))
        smallest = isinstance(attack, foolbox.attacks.base.MinimizationAttack)
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=_device(model))

        def craft(images: Tensor, labels: Tensor) -> Tensor:
            raw, clipped, _ = attack(wrapped, images, labels, epsilons=None if smallest else threat_model.eps)
            perturbed: Tensor = raw if smallest else clipped
            return perturbed

        return craft

    return _seeded(made)


def of_adv_lib(name: str, **settings: Any) -> Maker:
    """The function of this name in adv_lib.attacks. It returns the clean image where it breaks nothing."""

    def made(model: nn.Module, threat_model: ThreatModel) -> Crafted:
        import adv_lib.attacks

        return partial(getattr(adv_lib.attacks, name), model, **_filled(settings, model, threat_model))

    return _seeded(made)


def of_art(name: str, **settings: Any) -> Maker:
    """The class of this name in art.attacks.evasion, on a PyTorchClassifier."""

    def made(model: nn.Module, threat_model: ThreatModel) -> Crafted:
        import art.attacks.evasion
        from art.estimators.classification import PyTorchClassifier

        def craft(images: Tensor, labels: Tensor) -> Tensor:
            classifier = PyTorchClassifier(
                model, nn.CrossEntropyLoss(), tuple(images.shape[1:]), _classes(model, images), clip_values=(0.0, 1.0),
                device_type="cpu" if images.device.type == "cpu" else "gpu",
            )  # fmt: skip
            attack = getattr(art.attacks.evasion, name)(classifier, **_filled(settings, model, threat_model))
            perturbed = attack.generate(images.cpu().numpy(), y=labels.cpu().numpy())
            return torch.from_numpy(np.asarray(perturbed, np.float32)).to(images.device)

        return craft

    return _seeded(made)


def _seeded(made: Maker) -> Maker:
    """The same attack, with the global generators that peers draw from seeded before each call."""

    def seeded(model: nn.Module, threat_model: ThreatModel) -> Crafted:
        craft = made(model, threat_model)

        def crafted(images: Tensor, labels: Tensor) -> Tensor:
            torch.manual_seed(0)
            np.random.seed(0)
            random.seed(0)
            return craft(images, labels)

        return crafted

    return seeded


def _filled(settings: dict[str, Any], model: nn.Module, threat_model: ThreatModel) -> dict[str, Any]:
    if not any(callable(value) for value in settings.values()):
        return settings
    case = Case(threat_model.eps, _classes(model, torch.zeros(1, 3, 64, 64, device=_device(model))))
    return {key: value(case) if callable(value) else value for key, value in settings.items()}


@torch.no_grad()
def _classes(model: nn.Module, images: Tensor) -> int:
    return int(model(images[:1]).shape[1])


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
