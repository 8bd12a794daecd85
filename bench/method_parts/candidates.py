"""The trainings that `bench/methods.py` compares: each method alone, each option alone, and combinations of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.hardening_choice import hardening_of
from skinaudit.trainer.recipes import Hardening, Recipe, adapted

BASELINE, STANDARD, PLAIN = "pgd", "standard", "plain pgd"
"""PGD with our recipe; no hardening; PGD as Madry et al. trained: every class counts alike, no average, no warm-up."""


@dataclass(frozen=True)
class Candidate:
    """A setting of training. Invariant: its work for one epoch does not depend on eps.

    hardening: as `--hardening` takes it. recipe: fields that differ from the default recipe. wider: training eps as a
    multiple of the eps that is judged. malignant: the same for images of malignant classes alone, on top. costs: of all
    malignant classes. clean_share: of each batch. pretrained: starts from the ImageNet weights given to the bench, at width
    1. warm_up, ramp: shares of the epochs.
    """

    name: str
    hardening: str = "pgd"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    awp: float = 0.0
    wider: Fraction = Fraction(1)
    malignant: Fraction = Fraction(1)
    costs: float = 1.0
    clean_share: float | None = None
    pretrained: bool = False
    warm_up: float = 0.4
    ramp: float = 0.2

    @property
    def work(self) -> str:
        """What decides the time of a hardened epoch."""
        parts = [self.hardening, "" if self.steps is None else f"steps {self.steps}", "AWP" if self.awp else ""]
        parts += ["two radii" if self.malignant != 1 else "", f"{self.clean_share:.0%} clean" if self.clean_share else ""]
        parts += ["width 1" if self.pretrained else ""]
        parts += [str(self.recipe["augment"]) if "augment" in self.recipe else ""]
        return ", ".join(part for part in parts if part)

    @property
    def clean_work(self) -> str:
        """What decides the time of an epoch on clean images."""
        parts = ["none", "width 1" if self.pretrained else "", str(self.recipe.get("augment", ""))]
        return ", ".join(part for part in parts if part)

    def recipe_of(self, *, epochs: int, batch: int, malignant: Sequence[str]) -> Recipe:
        """The recipe for so many epochs."""
        costs = dict.fromkeys(malignant, self.costs) if self.costs != 1 else {}
        return adapted("default", epochs=epochs, batch=batch, class_costs=costs, **self.recipe)

    def hardening_for(self, eps: Fraction, *, recipe: Recipe, malignant: Sequence[str]) -> Hardening | None:
        """The hardening that is judged at this eps, in 8-bit steps; None without hardening."""
        if self.hardening == "none":
            return None
        radius = eps * self.wider
        return hardening_of(
            self.hardening, recipe=recipe, threat_model=ThreatModel("linf", eps), steps=self.steps, warm_up=self.warm_up,
            ramp=self.ramp, clean_share=self.clean_share, batch_norm="eval", train_eps_255=radius, awp=self.awp,
            class_eps=dict.fromkeys(malignant, radius * self.malignant) if self.malignant != 1 else None,
        )  # fmt: skip


_AFFINE = {"augment": "affine"}
_BALANCED = {"class_weighting": 1.0}
_SLOW = {"averaging": 0.999}
_ADJUSTED = {"class_weighting": 0.0, "logit_adjustment": 1.0}
_HALF = Fraction(3, 2)
_NARROWER = {"wider": Fraction(1, 2)}
_HALF_CLEAN = {"clean_share": 0.5}
_FROM_IMAGENET = {"learning_rate": 3e-3, **_ADJUSTED, **_AFFINE}


def _adjusted(name: str, hardening: str = "pgd", *, recipe: Mapping[str, Any] | None = None, **others: Any) -> Candidate:
    """From ImageNet weights, with adjusted logits and affine images, and one difference."""
    fields = {"pretrained": True, "warm_up": 0.2, "ramp": 0.1, **others}
    return Candidate(name, hardening, {**_FROM_IMAGENET, **(recipe or {})}, **fields)


CANDIDATES: tuple[Candidate, ...] = (
    Candidate(STANDARD, "none"),
    Candidate(BASELINE),
    Candidate(PLAIN, recipe={"class_weighting": 0.0, "averaging": 0.0}, warm_up=0.0, ramp=0.0),
    Candidate("trades", "trades:beta=6"),
    Candidate("mart", "mart"),
    Candidate("fgsm-rs", "fgsm-rs"),
    Candidate("free", "free:repeats=4"),
    Candidate("pgd awp", awp=0.005),
    Candidate("pgd swa", recipe={"swa": 0.3}),
    Candidate("pgd no average", recipe={"averaging": 0.0}),
    Candidate("pgd smoothing", recipe={"label_smoothing": 0.1}),
    Candidate("pgd balanced", recipe=_BALANCED),
    Candidate("pgd adjusted", recipe=_ADJUSTED),
    Candidate("pgd adjusted ascent", "pgd:ascend=adjusted", recipe=_ADJUSTED),
    Candidate("pgd margin ascent", "pgd:ascend=margin"),
    Candidate("pgd affine", recipe=_AFFINE),
    Candidate("pgd malignant radius", malignant=_HALF),
    Candidate("pgd wider", wider=_HALF),
    Candidate("pgd short warm-up", warm_up=0.15, ramp=0.25),
    Candidate("pgd imagenet", pretrained=True, recipe={"learning_rate": 3e-3}, warm_up=0.25),
    Candidate("trades light", "trades:beta=2", recipe=_BALANCED),
    Candidate("imagenet standard", "none", pretrained=True, recipe={"learning_rate": 3e-3}),
    Candidate(
        "imagenet balanced", pretrained=True, warm_up=0.2, ramp=0.1,
        recipe={"learning_rate": 3e-3, **_BALANCED, **_AFFINE},
    ),
    Candidate(
        "imagenet fast", "fgsm-rs", pretrained=True, warm_up=0.2, ramp=0.1,
        recipe={"learning_rate": 3e-3, **_BALANCED, **_AFFINE},
    ),
    Candidate(
        "imagenet trades", "trades:beta=3", pretrained=True, warm_up=0.2, ramp=0.1,
        recipe={"learning_rate": 3e-3, **_BALANCED, **_AFFINE},
    ),
    Candidate(
        "imagenet wider", pretrained=True, warm_up=0.2, ramp=0.1, wider=_HALF,
        recipe={"learning_rate": 3e-3, **_BALANCED, **_AFFINE, **_SLOW},
    ),
    _adjusted("imagenet adjusted"),
    _adjusted("adjusted two steps", steps=2),
    _adjusted("adjusted one step", steps=1),
    _adjusted("adjusted fast", "fgsm-rs"),
    _adjusted("adjusted narrower", steps=2, **_NARROWER),
    _adjusted("adjusted narrower one step", steps=1, **_NARROWER),
    _adjusted("adjusted three quarters", steps=1, wider=Fraction(3, 4)),
    _adjusted("adjusted half clean", steps=2, **_HALF_CLEAN),
    _adjusted("adjusted half clean one step", steps=1, **_HALF_CLEAN),
    _adjusted("adjusted trades light", "trades:beta=1", steps=2),
    _adjusted("adjusted trades", "trades:beta=3"),
    _adjusted("adjusted awp", steps=2, awp=0.005),
    _adjusted("adjusted wider", wider=_HALF),
    _adjusted("adjusted early", warm_up=0.05, ramp=0.2),
    _adjusted("adjusted slow average", recipe=_SLOW),
    _adjusted("adjusted slow rate", recipe={"learning_rate": 1e-3}),
    _adjusted("adjusted smoothing", recipe={"label_smoothing": 0.1}),
    _adjusted("adjusted strongly", recipe={"logit_adjustment": 1.5}),
    Candidate(
        "imagenet malignant", "fgsm-rs", pretrained=True, warm_up=0.2, ramp=0.1, costs=1.5, malignant=_HALF,
        recipe={"learning_rate": 3e-3, **_BALANCED, **_AFFINE},
    ),
    Candidate(
        "imagenet awp", "fgsm-rs", pretrained=True, warm_up=0.2, ramp=0.1, awp=0.005,
        recipe={"learning_rate": 3e-3, **_BALANCED, **_AFFINE},
    ),
    Candidate(
        "imagenet smoothing", pretrained=True, warm_up=0.2, ramp=0.1,
        recipe={"learning_rate": 3e-3, **_BALANCED, **_AFFINE, "label_smoothing": 0.1},
    ),
    Candidate(
        "imagenet early", pretrained=True, warm_up=0.05, ramp=0.2,
        recipe={"learning_rate": 3e-3, **_BALANCED, **_AFFINE},
    ),
    Candidate(
        "imagenet two steps", steps=2, pretrained=True, warm_up=0.2, ramp=0.1,
        recipe={"learning_rate": 3e-3, **_BALANCED, **_AFFINE},
    ),
    Candidate(
        "imagenet one step", steps=1, pretrained=True, warm_up=0.2, ramp=0.1,
        recipe={"learning_rate": 3e-3, **_BALANCED, **_AFFINE},
    ),
    Candidate(
        "imagenet slow rate", pretrained=True, warm_up=0.2, ramp=0.1,
        recipe={"learning_rate": 1e-3, **_BALANCED, **_AFFINE},
    ),
    Candidate(
        "imagenet flips", pretrained=True, warm_up=0.2, ramp=0.1,
        recipe={"learning_rate": 3e-3, **_BALANCED},
    ),
)  # fmt: skip
"""In the order in which they are trained."""


def named(names: Sequence[str]) -> tuple[Candidate, ...]:
    """The candidates of these names, all without any; raises KeyError for an unknown one."""
    by_name = {candidate.name: candidate for candidate in CANDIDATES}
    return tuple(by_name[name] for name in names) if names else CANDIDATES
