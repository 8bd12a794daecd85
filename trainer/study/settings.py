"""Every setting of a study, as one table per scale. Printed and read as TOML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from skinaudit.artifacts.plain_values import read_toml
from skinaudit.artifacts.study_folder import RecipeName, SplitName
from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.artifacts.typed_json import Range, build
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import architectures

_AGAIN = "`skinaudit paper --show` prints the settings of a scale to start from"
_Positive = Annotated[int, Range(1)]
_MOST_SEEDS = 1000  # each has eight trainings; many more take minutes to list


@dataclass(frozen=True)
class Fit:
    """Changes of a recipe for one architecture. learning_rate: 0 keeps the recipe's."""

    epochs: _Positive
    batch: Annotated[int, Range(2)]
    learning_rate: Annotated[float, Range(0)]


@dataclass(frozen=True)
class ArchitectureSettings:
    """One network of the study. weights: a file or name to start from; empty for random weights."""

    name: str
    width: float
    weights: str
    paper: Fit
    default: Fit

    def fit(self, recipe: RecipeName) -> Fit:
        """The settings under one recipe."""
        return self.paper if recipe == "paper" else self.default


@dataclass(frozen=True)
class AutoAttackSettings:
    """AutoAttack's budget. images: number of randomly chosen test images; all if there are fewer."""

    images: _Positive
    steps: _Positive
    targets: _Positive
    queries: _Positive


@dataclass(frozen=True)
class StudySettings:
    """Every setting of a study. Invariant: equal values and data give equal figures on one machine.

    images: number of synthetic images; 0 for all of a data set. attack_steps: of the PGD sets. hardening_steps: of the PGD
    attack in training. precision: of the training steps; `usual` is the default of `skinaudit train`.
    """

    scale: str
    size: Annotated[int, Range(32)]
    images: Annotated[int, Range(0)]
    eps: str
    attack_steps: _Positive
    hardening_steps: _Positive
    precision: Literal["usual", "fp32", "tf32", "bf16", "bf16-attack"]
    seeds: _Positive
    splits: tuple[SplitName, ...]
    recipes: tuple[RecipeName, ...]
    autoattack: AutoAttackSettings
    architectures: tuple[ArchitectureSettings, ...]

    def __post_init__(self) -> None:
        if self.seeds > _MOST_SEEDS:
            raise InvalidInputError(f"seeds {self.seeds}: a study has at most {_MOST_SEEDS:,}")
        self.threat_model.on_grid()
        for architecture in self.architectures:
            architectures.load(architecture.name)
        network_names = [architecture.name for architecture in self.architectures]
        for entry, names in (("splits", self.splits), ("recipes", self.recipes), ("architectures", network_names)):
            if not names or len(set(names)) != len(names):
                raise InvalidInputError(f"{entry}: name at least one, and each once")

    @property
    def threat_model(self) -> ThreatModel:
        """The threat model of hardening and of all sets."""
        return ThreatModel("linf", parse_eps(self.eps))

    def architecture(self, name: str) -> ArchitectureSettings:
        """The settings of one network."""
        return next(network for network in self.architectures if network.name == name)


def _architecture(name: str, width: float, *, paper: Fit, default: Fit) -> ArchitectureSettings:
    return ArchitectureSettings(name, width, "", paper, default)


SCALES: Mapping[str, StudySettings] = {
    # Huq & Pervin 2020: 224x224, full width, batch 16. VGG16 at 0.01, as torchvision trains it, instead of their 0.1.
    "full": StudySettings(
        scale="full", size=224, images=0, eps="2/255", attack_steps=40, hardening_steps=3, precision="usual", seeds=1,
        splits=("lesion", "paper"), recipes=("paper", "default"),
        autoattack=AutoAttackSettings(images=300, steps=100, targets=9, queries=5000),
        architectures=(
            _architecture("mobilenet", 1.0, paper=Fit(60, 16, 0.0), default=Fit(20, 32, 0.0)),
            _architecture("vgg16", 1.0, paper=Fit(60, 16, 0.01), default=Fit(20, 32, 0.0)),
        ),
    ),
    # The same size in a few minutes on a GPU: larger batches, fewer epochs and steps. With so few epochs from random
    # weights,
    # VGG16 without batch norm keeps giving a constant answer.
    "gpu": StudySettings(
        scale="gpu", size=224, images=0, eps="2/255", attack_steps=20, hardening_steps=3, precision="bf16", seeds=1,
        splits=("lesion", "paper"), recipes=("paper", "default"),
        autoattack=AutoAttackSettings(images=100, steps=20, targets=2, queries=200),
        architectures=(
            _architecture("mobilenet", 1.0, paper=Fit(14, 128, 0.0), default=Fit(10, 128, 0.0)),
            _architecture("vgg16_bn", 1.0, paper=Fit(9, 128, 0.01), default=Fit(8, 128, 1e-3)),
        ),
    ),
    # As small as on a CPU, with wider networks and more epochs: minutes on a GPU.
    "gpu-64": StudySettings(
        scale="gpu-64", size=64, images=0, eps="2/255", attack_steps=40, hardening_steps=3, precision="usual", seeds=1,
        splits=("lesion", "paper"), recipes=("paper", "default"),
        autoattack=AutoAttackSettings(images=300, steps=100, targets=6, queries=1000),
        architectures=(
            _architecture("mobilenet", 1.0, paper=Fit(30, 64, 0.0), default=Fit(30, 64, 0.0)),
            _architecture("vgg16_bn", 0.25, paper=Fit(30, 64, 0.01), default=Fit(30, 64, 1e-3)),
        ),
    ),
    "cpu": StudySettings(
        scale="cpu", size=64, images=0, eps="2/255", attack_steps=40, hardening_steps=3, precision="usual", seeds=1,
        splits=("lesion", "paper"), recipes=("paper", "default"),
        autoattack=AutoAttackSettings(images=200, steps=30, targets=3, queries=300),
        architectures=(
            _architecture("mobilenet", 0.5, paper=Fit(12, 16, 0.0), default=Fit(12, 32, 0.0)),
            _architecture("vgg16_bn", 0.125, paper=Fit(8, 16, 0.01), default=Fit(8, 32, 1e-3)),
        ),
    ),
    "tiny": StudySettings(
        scale="tiny", size=32, images=300, eps="8/255", attack_steps=2, hardening_steps=1, precision="usual", seeds=1,
        splits=("lesion", "paper"), recipes=("paper",),
        autoattack=AutoAttackSettings(images=8, steps=2, targets=1, queries=2),
        architectures=(_architecture("mobilenet", 0.1, paper=Fit(1, 16, 0.0), default=Fit(1, 32, 0.0)),),
    ),
}  # fmt: skip


def read_settings(path: Path) -> StudySettings:
    """Settings from a TOML file; raises InvalidInputError, which names file and field, for values that do not fit."""
    plain = read_toml(path, kind="settings of a study", again=_AGAIN)
    settings: StudySettings = build(StudySettings, plain, where=str(path), again=_AGAIN)
    return settings


def changed(
    settings: StudySettings,
    *,
    eps: str | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    weights: Mapping[str, str] | None = None,
    precision: Literal["usual", "fp32", "tf32", "bf16", "bf16-attack"] | None = None,
) -> StudySettings:
    """The settings with those replaced that are not None. epochs, batch: in every recipe. weights: by architecture.

    Raises InvalidInputError for weights of an architecture that the study does not have.
    """
    weights = weights or {}
    names = [network.name for network in settings.architectures]
    for name in weights:
        if name not in names:
            raise InvalidInputError(f"weights {name}={weights[name]}: the study has {', '.join(names)}")

    def changed_fit(fit: Fit) -> Fit:
        return replace(fit, epochs=epochs or fit.epochs, batch=batch or fit.batch)

    chosen = tuple(
        replace(
            network,
            weights=weights.get(network.name, network.weights),
            paper=changed_fit(network.paper),
            default=changed_fit(network.default),
        )
        for network in settings.architectures
    )
    return replace(
        settings, eps=eps or settings.eps, seeds=seeds or settings.seeds, precision=precision or settings.precision,
        architectures=chosen,
    )  # fmt: skip


def to_toml(settings: StudySettings) -> str:
    """The settings as TOML that `read_settings` reads."""
    return "\n".join(_lines(settings, "")) + "\n"


def _lines(value: Any, path: str) -> Iterator[str]:
    """Plain values first, then tables, as TOML requires."""
    entries = [(field.name, getattr(value, field.name)) for field in fields(value)]
    tables = [(name, item) for name, item in entries if is_dataclass(item) or _are_tables(item)]
    for name, item in entries:
        if (name, item) not in tables:
            yield f"{name} = {_plain(item)}"
    for name, item in tables:
        below = f"{path}.{name}" if path else name
        for part in item if _are_tables(item) else (item,):
            yield ""
            yield f"[[{below}]]" if _are_tables(item) else f"[{below}]"
            yield from _lines(part, below)


def _are_tables(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and is_dataclass(value[0])


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
