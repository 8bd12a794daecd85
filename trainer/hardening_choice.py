"""Converts what a user chose about hardening to its settings."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import hardening
from skinaudit.trainer.recipes import Hardening, Recipe

STEPS = 3
"""Of the inner attack, if neither the method nor the user sets them."""


def hardening_of(
    chosen: str,
    *,
    recipe: Recipe,
    threat_model: ThreatModel,
    steps: int | None,
    warm_up: float | None,
    ramp: float | None,
    clean_share: float | None,
    batch_norm: Literal["eval", "train"],
    train_eps_255: Fraction | None = None,
    awp: float = 0.0,
    class_eps: Mapping[str, Fraction] | None = None,
) -> Hardening | None:
    """The settings for `NAME[:KEY=VALUE,...]`, None for `none`.

    Warm-up, ramp and clean share that are not given are the recipe's. Raises InvalidInputError for an unknown method, for
    settings that it does not have, and if warm-up and ramp leave no epoch at full eps.
    """
    if chosen == "none":
        given = {"--hardening-eps": train_eps_255, "--awp": awp, "--class-eps": class_eps}
        for option in (option for option, value in given.items() if value):
            raise InvalidInputError(f"{option} needs hardening; add --hardening pgd")
        return None
    name, settings = hardening.parse(chosen)
    method, _ = hardening.load(name)
    if method.STEPS is not None and steps not in (None, method.STEPS):
        raise InvalidInputError(f"hardening {name}: its attack always takes {method.STEPS} step; leave --steps out")
    norms = getattr(method, "NORMS", (threat_model.norm,))
    if threat_model.norm not in norms:
        raise InvalidInputError(f"hardening {name}: works under {', '.join(norms)} only; choose --norm {norms[0]}")
    if clean_share and not method.MIXES:
        raise InvalidInputError(f"hardening {name}: needs a whole batch; leave --clean-share out")
    mixed = recipe.clean_share if clean_share is None else clean_share
    ramp = recipe.ramp if ramp is None else ramp
    warm_up = recipe.warm_up if warm_up is None else warm_up
    if warm_up + ramp > 1:
        raise InvalidInputError(
            f"warm-up {warm_up:g} and ramp {ramp:g}: together more than the whole training; give a smaller --warm-up or "
            "--ramp"
        )
    if class_eps and batch_norm == "train":
        raise InvalidInputError("--class-eps attacks each radius separately, so it needs --attack-batch-norm eval")
    return Hardening(
        threat_model, steps or method.STEPS or STEPS, ramp, mixed if method.MIXES else 0.0, batch_norm, train_eps_255,
        warm_up=warm_up, method=name, settings=settings, awp=awp, class_eps=class_eps or {},
    )  # fmt: skip
