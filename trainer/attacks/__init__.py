"""Attacks on a differentiable model, one per file. The file's name is the name on the command line, with `-` for `_`.

An attack file defines `attack(model, images, labels, *, threat_model, generator, trace=None, **settings) -> images` and
SETTINGS, its settings with their defaults. Optional: WHOLE_SET if it must see all images of a set in one call, and
ANSWERS_ALONE if it asks the model for no gradient. To add an attack, add a file; nothing else has to change.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import pkgutil
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import RReLU
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from skinaudit.artifacts.named_settings import check_known, parse_named
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError, choose_one
from skinaudit.trainer.attack_trace import AttackTrace
from skinaudit.trainer.few_sizes import few_sizes
from skinaudit.trainer.input_gradients.fused import fused


class Attack(Protocol):
    """A function from images float32 (N, 3, H, W) in [0, 1] and labels int64 (N,) to perturbed images in the ball.

    trace: if given, the attack reports each point that it evaluates to it.
    """

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        threat_model: ThreatModel,
        generator: torch.Generator,
        trace: AttackTrace | None = None,
        **settings: Any,
    ) -> Tensor: ...


def names() -> tuple[str, ...]:
    """Names of the available attacks."""
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


def load(name: str, given: Mapping[str, Any] | None = None) -> tuple[Attack, dict[str, Any]]:
    """The attack function with this name and its settings with defaults; raises InvalidInputError for unknown ones."""
    if name not in names():
        raise InvalidInputError(choose_one("attack", name, names()))
    module = _module(name)
    check_known(set(given or {}), kind="attack", name=name, defaults=module.SETTINGS)
    return _of_evaluation(name, module.attack), {**module.SETTINGS, **(given or {})}


def whole_set(name: str) -> bool:
    """Whether the attack makes one perturbation for all images of a set and so must see them in one call."""
    return bool(getattr(_module(name), "WHOLE_SET", False))


def answers_alone(name: str) -> bool:
    """Whether the attack asks the model only for answers, never for a gradient."""
    return bool(getattr(_module(name), "ANSWERS_ALONE", False))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """The attack and its settings for `NAME` or `NAME:key=value,...`; raises InvalidInputError, see `parse_named`."""
    return parse_named(text, kind="attack", defaults_of=lambda name: load(name)[1])


def check_settings(name: str, settings: Mapping[str, Any], threat_model: ThreatModel) -> None:
    """Raise InvalidInputError if the attack refuses its settings or the norm. No model is evaluated."""
    with contextlib.suppress(_AskedError):
        load(name)[0](
            _Unanswering().eval(), torch.zeros(1, 3, 2, 2), torch.zeros(1, dtype=torch.int64), threat_model=threat_model,
            generator=torch.Generator(), **settings,
        )  # fmt: skip


class _AskedError(Exception):
    """Raised instead of evaluating a model that gives no answers."""


class _Unanswering(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise _AskedError


def check_evaluation(model: nn.Module, *, where: str) -> None:
    """Raise InvalidInputError if a layer is in training mode. The attack must see the function that is deployed."""
    for path, layer in model.named_modules():
        if layer.training and isinstance(layer, (_BatchNorm, _DropoutNd, RReLU, *_of_torchvision())):
            raise InvalidInputError(
                f"{where}: layer {path or type(layer).__name__} of the model is in training mode; call model.eval() first"
            )


def _of_torchvision() -> tuple[type[nn.Module], ...]:
    """torchvision's stochastic depth layer. It exists only if torchvision is loaded, and loading takes a second."""
    operators = sys.modules.get("torchvision.ops")
    return () if operators is None else (operators.StochasticDepth,)


def _of_evaluation(name: str, attack: Attack) -> Attack:
    """The attack with a check that refuses models in training mode. It gets a faster model with the same answers."""

    @functools.wraps(attack)
    def checked(model: nn.Module, images: Tensor, *args: Any, **settings: Any) -> Tensor:
        if isinstance(model, nn.Module):
            check_evaluation(model, where=name)
            model = few_sizes(fused(model), images.device)
        return attack(model, images, *args, **settings)

    return checked
