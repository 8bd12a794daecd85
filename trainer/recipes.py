"""Training settings: what the two named recipes fix, and the settings of hardening."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal, TypeVar

from skinaudit.artifacts.contract import MAX_CLASSES
from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.errors import InvalidInputError, choose_one, first_few
from skinaudit.trainer import architectures

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Recipe:
    """Every setting of standard training. Invariant: equal recipes, data and seed give equal weights on one machine.

    optimiser: sgd with momentum, or adamw. schedule: `one-cycle` over all epochs, or `plateau`: the learning rate is
    multiplied by `factor` after `patience` epochs without a better `monitor`. class_weighting: exponent w of the weights
    n_c^-w in the cross-entropy (0 none, 1 inverse frequency). class_costs: factors on these weights by class name: the cost
    of missing that class relative to others. monitor: validation figure that chooses the best epoch; training stops after
    `stop_patience` epochs without a better one (0: never). augment: `none`, `flips` (with quarter turns) or `affine`, see
    `trainer.augment`. averaging: decay of the moving average of the weights; the average is validated and kept (0: the
    weights themselves). swa: share of the steps, at the end, whose weights are averaged equally instead (0: none).
    label_smoothing: share of each label that is spread over all classes. logit_adjustment: strength of the logarithms of the
    class shares that are added to the logits in training (0: none). clean_share, warm_up, ramp: of hardening, unless a
    Hardening says otherwise.
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
    swa: float = 0.0
    label_smoothing: float = 0.0
    logit_adjustment: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values. Newer settings that are off are left out, so a run from before them has the same values."""
        settings = asdict(self)
        return {key: value for key, value in settings.items() if key not in _LATER or value}


_LATER = ("swa", "label_smoothing", "logit_adjustment")

RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        name="default", epochs=20, batch=32, optimiser="adamw", learning_rate=1e-2, momentum=0.9, weight_decay=0.05,
        schedule="one-cycle", patience=0, factor=0.5, class_weighting=0.75, augment="flips",
        monitor="balanced_accuracy", stop_patience=0, averaging=0.995,
    ),
    # Huq & Pervin 2020: SGD, learning rate 0.1, momentum 0.9, batch 16, halved after 3 epochs without better validation
    # accuracy. The paper gives no number of epochs and no stopping rule: 60 and 10 are ours.
    "paper": Recipe(
        name="paper", epochs=60, batch=16, optimiser="sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.0,
        schedule="plateau", patience=3, factor=0.5, class_weighting=0.0, augment="none",
        monitor="accuracy", stop_patience=10, clean_share=0.5, warm_up=0.0, ramp=0.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Hardening:
    """Adversarial training over `threat_model` by one of the methods of `trainer.hardening`.

    train_eps_255: radius of the inner attack in 8-bit steps, if it differs from that of `threat_model`. Validation always
    uses `threat_model`. steps: of the inner attack; each has the size 2.5 eps / steps, from a random start. warm_up: share
    of all epochs, at the beginning, that trains on clean images. ramp: share of all epochs after it, over which eps grows
    linearly from 0 to its full value. At full eps from random weights, a small model keeps giving a constant answer.
    clean_share: share of each batch left clean (0 is Madry's; 0.5 is the paper's mix). batch_norm: mode of the inner
    attack's batch norm. `eval` attacks the function that is deployed (running statistics, folded into the convolutions;
    faster). `train` uses the batch's statistics. method, settings: of `trainer.hardening`; settings that are not given have
    the method's defaults. awp: how far weights are moved to increase the loss, as a share of their norm, before the gradient
    is computed (0: not at all). class_eps: radius of the inner attack for images of a class, in 8-bit steps, if it differs
    from the common one.
    """

    threat_model: ThreatModel
    steps: int = 3
    ramp: float = 0.3
    clean_share: float = 0.0
    batch_norm: Literal["eval", "train"] = "eval"
    train_eps_255: Fraction | None = None
    warm_up: float = 0.0
    method: str = "pgd"
    settings: Mapping[str, Any] = field(default_factory=dict)
    awp: float = 0.0
    class_eps: Mapping[str, Fraction] = field(default_factory=dict)

    @property
    def trained(self) -> ThreatModel:
        """The threat model of the inner attack after the ramp."""
        if self.train_eps_255 is None:
            return self.threat_model
        return replace(self.threat_model, eps_255=self.train_eps_255)

    def at(self, share: float, *, class_name: str | None = None) -> ThreatModel | None:
        """The threat model after `share` (0 to 1) of the training; None in the warm-up, whose images stay clean.

        On the ramp, eps is a multiple of 1/256 of an 8-bit step, at least one. class_name: class of the images.
        """
        if share < self.warm_up:
            return None
        part = min(1.0, (share - self.warm_up) / self.ramp) if self.ramp else 1.0
        full = self.trained.eps_255 if class_name is None else self.class_eps.get(class_name, self.trained.eps_255)
        return replace(self.trained, eps_255=max(round(full * 256 * Fraction(part)), 1) * Fraction(1, 256))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        threat = {"norm": self.threat_model.norm, "eps": self.threat_model.eps_text}
        settings = {**asdict(self), "threat_model": threat, "train_eps": self.trained.eps_text}
        settings["class_eps"] = {name: replace(self.trained, eps_255=eps).eps_text for name, eps in self.class_eps.items()}
        kind = settings.pop("method")
        del settings["train_eps_255"]
        off = [key for key in ("settings", "awp", "class_eps") if not settings[key]]
        return {"kind": kind, **{key: value for key, value in settings.items() if key not in off}}


def adapted(name: str, *, arch: str = "mobilenet", **settings: Any) -> Recipe:
    """The named recipe for an arch, with the fields replaced that are not None.

    Raises InvalidInputError for an unknown name or arch, and for a cost of 0 or less.
    """
    if name not in RECIPES:
        raise InvalidInputError(choose_one("recipe", name, tuple(RECIPES)))
    recipe = RECIPES[name]
    own_rate = architectures.load(arch).learning_rate
    if name == "default" and own_rate is not None:
        recipe = replace(recipe, learning_rate=own_rate)
    recipe = replace(recipe, **{key: value for key, value in settings.items() if value is not None})
    if settings.get("swa") is not None and settings.get("averaging") is None:
        recipe = replace(recipe, averaging=0.0)
    if recipe.averaging and recipe.swa:
        raise InvalidInputError(f"averaging {recipe.averaging:g} and swa {recipe.swa:g}: choose one of them")
    for class_name, cost in recipe.class_costs.items():
        if not 0 < cost < math.inf:
            raise InvalidInputError(f"class cost {class_name}={cost:g}: give a number above 0")
    return recipe


def check_classes(recipe: Recipe, hardening: Hardening | None, classes: Sequence[str]) -> None:
    """Raise InvalidInputError if a cost or a radius is for a class that the data do not have."""
    radii = {} if hardening is None else hardening.to_json().get("class_eps", {})
    given = [("class cost", name, f"{cost:g}") for name, cost in recipe.class_costs.items()]
    given += [("class eps", name, eps) for name, eps in radii.items()]
    for option, name, value in given:
        if name not in classes:
            raise InvalidInputError(f"{option} {name}={value}: the classes are {first_few(classes, limit=MAX_CLASSES)}")


def parse_costs(texts: Sequence[str]) -> dict[str, float]:
    """Costs such as `mel=2` as factors by class; raises InvalidInputError for another form or a repeated class."""
    return _by_class(texts, float, option="class cost", form="CLASS=NUMBER, for example mel=1.5")


def parse_class_eps(texts: Sequence[str]) -> dict[str, Fraction]:
    """Radii such as `mel=3/255` as 8-bit steps by class; raises InvalidInputError as `parse_costs` does."""
    return _by_class(texts, parse_eps, option="class eps", form="CLASS=EPS, for example mel=3/255")


def _by_class(texts: Sequence[str], value_of: Callable[[str], _Value], *, option: str, form: str) -> dict[str, _Value]:
    values: dict[str, _Value] = {}
    for text in texts:
        name, _, value_text = text.partition("=")
        try:
            value = value_of(value_text)
        except (ValueError, InvalidInputError):
            raise InvalidInputError(f"{option} {text!r}: write it as {form}") from None
        if name in values:
            raise InvalidInputError(f"{option} {text!r}: {name} has one already, {values[name]}")
        values[name] = value
    return values
