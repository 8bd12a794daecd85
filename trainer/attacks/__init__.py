"""Attacks on a differentiable model, one a file; the file's name is the attack's name on the command line.

An attack file defines `attack(model, images, labels, *, threat_model, generator, trace=None, **settings) -> images` and
SETTINGS, its settings with their defaults. Nothing else needs to change when a file is added.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.attack_trace import AttackTrace


class Attack(Protocol):
    """A pure function from images float32 (N, 3, H, W) in [0, 1] and labels int64 (N,) to perturbed images in the ball.

    trace: where given, the attack tells it of each point that it evaluates.
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
    """The attacks that are there, by file."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load(name: str, given: Mapping[str, Any] | None = None) -> tuple[Attack, dict[str, Any]]:
    """The attack function of that name and its settings, defaults filled in; raises InvalidInputError for unknown ones."""
    if name not in names():
        raise InvalidInputError(f"attack {name!r}: choose among {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    unknown = sorted(set(given or {}) - set(module.SETTINGS))
    if unknown:
        raise InvalidInputError(
            f"attack {name}: no setting {', '.join(unknown)}; it has {', '.join(module.SETTINGS) or 'none'}"
        )
    function: Attack = module.attack
    return function, {**module.SETTINGS, **(given or {})}
