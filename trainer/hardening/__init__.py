"""Methods of hardening, one per file. The file's name is the method's name on the command line, with `-` for `_`.

A method's file defines

- SETTINGS, its settings with their defaults;
- STEPS, the number of steps of its inner attack, or None if `--steps` chooses it;
- MIXES, whether part of a batch may stay clean;
- `perturb(batch, **settings) -> images`, the images to train on: float32 (N, 3, H, W);
- `loss(batch, perturbed, **settings) -> (loss, logits)`: a scalar and the logits (N, classes) of the model in
  training, with a graph;
- a setting `repeats`, if each batch is trained on several times;
- CHOICES, the allowed words by setting, if a setting is a word;
- NORMS, the possible norms, if not every norm is possible;
- ASCENDS, False if it never asks the attacked copy for a gradient.

To add a method, add a file; nothing else has to change.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Protocol, cast

from torch import Tensor

from skinaudit.artifacts.named_settings import check_known, parse_named
from skinaudit.errors import InvalidInputError, choose_one
from skinaudit.trainer.inner_attack import Batch


class Method(Protocol):
    """A module of this folder."""

    SETTINGS: Mapping[str, Any]
    STEPS: int | None
    MIXES: bool

    def perturb(self, batch: Batch, **settings: Any) -> Tensor:
        """The images to train on."""

    def loss(self, batch: Batch, perturbed: Tensor, **settings: Any) -> tuple[Tensor, Tensor]:
        """The loss, and the logits from which it was computed."""


def names() -> tuple[str, ...]:
    """Names of the available methods."""
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


def load(name: str, given: Mapping[str, Any] | None = None) -> tuple[Method, dict[str, Any]]:
    """The method with this name and its settings with defaults; raises InvalidInputError for unknown ones."""
    if name not in names():
        raise InvalidInputError(choose_one("hardening", name, ("none", *names())))
    method = cast(Method, importlib.import_module(f"{__name__}.{name.replace('-', '_')}"))
    check_known(set(given or {}), kind="hardening", name=name, defaults=method.SETTINGS)
    settings = {**method.SETTINGS, **(given or {})}
    for key, words in getattr(method, "CHOICES", {}).items():
        if settings[key] not in words:
            raise InvalidInputError(f"hardening {name}: {key}={settings[key]}: choose one of {', '.join(words)}")
    for key, value in settings.items():
        if isinstance(value, int | float) and value <= 0:
            raise InvalidInputError(f"hardening {name}: {key}={value:g}: give a number above 0")
    return method, settings


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """The method and the settings in `NAME` or `NAME:key=value,...`, such as `trades:beta=6`.

    Raises InvalidInputError for unknown names and for values out of range.
    """
    name, given = parse_named(text, kind="hardening", defaults_of=lambda name: load(name)[1])
    load(name, given)
    return name, given
