"""Training settings: what the two named recipes fix, and the settings of hardening."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

from skinaudit.artifacts.contract import MAX_CLASSES
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError, first_few
from skinaudit.trainer import architectures


@dataclass(frozen=True)
class Recipe:
    """Every setting of standard training. Invariant: equal recipes, data and seed give equal weights on one machine.

    optimiser: sgd with momentum, or adamw. schedule: `one-cycle` over all epochs, or `plateau`: the learning rate times
    `factor` after `patience` epochs without better `monitor`. class_weighting: exponent w of weights n_c^-w in the
    cross-entropy (0 none, 1 inverse frequency). class_costs: factors on those weights by class name: what a miss of that
    class costs beside one of another. monitor: validation figure that chooses the best epoch and stops early after
    `stop_patience` epochs without a better one (0: never). augment: `none`, `flips` (and quarter
    turns) or `affine`, as in `trainer.augment`. averaging: decay of
    the moving average of the weights, which is what is validated and kept (0: the weights themselves). clean_share,
    warm_up, ramp: of hardening, unless a Hardening says otherwise.
    """

    name: str
    epochs: int
    batch: int
    optimiser: Literal["sgd", "adamw"]
    learning_rate: float
    momentum: float
    weight_decay: float
    schedule: Literal["one-cycle", "plateau"]
    patience: int
    factor: float
    class_weighting: float
    augment: Literal["none", "flips", "affine"]
    monitor: Literal["accuracy", "balanced_accuracy"]
    stop_patience: int
    class_costs: Mapping[str, float] = field(default_factory=dict)
    averaging: float = 0.0
    clean_share: float = 0.0
    warm_up: float = 0.4
    ramp: float = 0.2

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        name="default", epochs=20, batch=32, optimiser="adamw", learning_rate=1e-2, momentum=0.9, weight_decay=0.05,
        schedule="one-cycle", patience=0, factor=0.5, class_weighting=0.75, augment="flips",
        monitor="balanced_accuracy", stop_patience=0, averaging=0.995,
    ),
    # Huq & Pervin 2020: SGD, learning rate 0.1, momentum 0.9, batch 16, halved after 3 epochs without better validation
    # accuracy. The paper names no number of epochs and no stopping rule: 60 and 10 are ours.
    "paper": Recipe(
        name="paper", epochs=60, batch=16, optimiser="sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.0,
        schedule="plateau", patience=3, factor=0.5, class_weighting=0.0, augment="none",
        monitor="accuracy", stop_patience=10, clean_share=0.5, warm_up=0.0, ramp=0.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Hardening:
    """PGD adversarial training: the minimax of Madry et al. 2018 over `threat_model`.

    train_eps_255: radius of the inner attack, in 8-bit steps, where it is not that of `threat_model`, under which the model
    is validated all the same. steps: of the inner attack, of size 2.5 eps / steps from a random start. warm_up: share of all
    epochs, at the beginning, that trains on clean images. ramp: share after it over which eps grows linearly from 0 to its
    full value; at full eps from random weights a small model stays a constant answer. clean_share: of each batch left clean
    (0 is Madry's; 0.5 is the paper's mix). batch_norm: mode of the inner attack's batch norm. `eval` attacks the function
    that is deployed (running statistics, folded into the convolutions, hence fast); `train` uses the batch's statistics.
    """

    threat_model: ThreatModel
    steps: int = 3
    ramp: float = 0.3
    clean_share: float = 0.0
    batch_norm: Literal["eval", "train"] = "eval"
    train_eps_255: Fraction | None = None
    warm_up: float = 0.0

    @property
    def trained(self) -> ThreatModel:
        """The threat model of the inner attack once the ramp is over."""
        if self.train_eps_255 is None:
            return self.threat_model
        return replace(self.threat_model, eps_255=self.train_eps_255)

    def at(self, share: float) -> ThreatModel | None:
        """The threat model after `share` (0 to 1) of the training; None in the warm-up, whose images stay clean.

        On the ramp eps comes in whole 256ths of an 8-bit step, at least one.
        """
        if share < self.warm_up:
            return None
        part = min(1.0, (share - self.warm_up) / self.ramp) if self.ramp else 1.0
        return replace(self.trained, eps_255=max(round(self.trained.eps_255 * 256 * Fraction(part)), 1) * Fraction(1, 256))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        threat = {"norm": self.threat_model.norm, "eps": self.threat_model.eps_text}
        settings = {**asdict(self), "threat_model": threat, "train_eps": self.trained.eps_text}
        del settings["train_eps_255"]
        return {"kind": "pgd", **settings}


def adapted(name: str, *, arch: str = "mobilenet", **settings: Any) -> Recipe:
    """The named recipe for an arch, with those fields replaced that are not None.

    Raises InvalidInputError for an unknown name or arch, and for a cost of 0 or less.
    """
    if name not in RECIPES:
        raise InvalidInputError(f"recipe {name!r}: choose among {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    own_rate = architectures.load(arch).learning_rate
    if name == "default" and own_rate is not None:
        recipe = replace(recipe, learning_rate=own_rate)
    recipe = replace(recipe, **{key: value for key, value in settings.items() if value is not None})
    for one, cost in recipe.class_costs.items():
        if not 0 < cost < math.inf:
            raise InvalidInputError(f"class cost {one}={cost:g}: give a number above 0")
    return recipe


def check_costs(recipe: Recipe, classes: Sequence[str]) -> None:
    """Raise InvalidInputError where the recipe gives a cost to a class that the data do not have."""
    for name, cost in recipe.class_costs.items():
        if name not in classes:
            raise InvalidInputError(f"class cost {name}={cost:g}: the classes are {first_few(classes, limit=MAX_CLASSES)}")


def parse_costs(texts: Sequence[str]) -> dict[str, float]:
    """`mel=2` and the like as factors by class; raises InvalidInputError where a text is not of that form or repeats one."""
    costs: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            cost = float(number)
        except ValueError:
            raise InvalidInputError(f"class cost {text!r}: write it as CLASS=NUMBER, for example mel=1.5") from None
        if name in costs:
            raise InvalidInputError(f"class cost {text!r}: {name} has one already, {costs[name]:g}")
        costs[name] = cost
    return costs


def hardening_of(
    kind: str,
    *,
    recipe: Recipe,
    threat_model: ThreatModel,
    steps: int,
    warm_up: float | None,
    ramp: float | None,
    clean_share: float | None,
    batch_norm: Literal["eval", "train"],
    train_eps_255: Fraction | None = None,
) -> Hardening | None:
    """None for `none`; for `pgd` the settings, with the recipe's warm-up, ramp and clean share where none is given.

    Raises InvalidInputError for an unknown kind, and where warm-up and ramp leave no epoch at full eps.
    """
    if kind == "none":
        if train_eps_255 is not None:
            raise InvalidInputError("--hardening-eps needs hardening; add --hardening pgd")
        return None
    if kind != "pgd":
        raise InvalidInputError(f"hardening {kind!r}: choose none or pgd")
    share = recipe.clean_share if clean_share is None else clean_share
    ramp = recipe.ramp if ramp is None else ramp
    warm_up = recipe.warm_up if warm_up is None else warm_up
    if warm_up + ramp > 1:
        raise InvalidInputError(
            f"warm-up {warm_up:g} and ramp {ramp:g}: together more than the whole training; give a smaller --warm-up or "
            "--ramp"
        )
    return Hardening(threat_model, steps, ramp, share, batch_norm, train_eps_255, warm_up)
