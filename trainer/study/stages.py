"""The stages of a study, the most important first, and which of them are done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.manifest import read_run
from skinaudit.artifacts.study_folder import StudyFolder, StudyModel, read_answers
from skinaudit.errors import InvalidInputError, choose_one
from skinaudit.trainer.generate import AttackPlan
from skinaudit.trainer.study.settings import StudySettings
from skinaudit.trainer.train import set_plans

Kind = Literal["train", "answer", "autoattack"]


@dataclass(frozen=True)
class Stage:
    """One step that is done once. needs: models that must be trained before.

    `train` a model with its own sets; let it `answer` the sets crafted on `crafted_on`; or attack it with `autoattack`.
    """

    kind: Kind
    model: StudyModel
    crafted_on: StudyModel | None = None

    @property
    def name(self) -> str:
        """Name of the stage, such as `train mobilenet-paper-standard-lesion-seed0`."""
        return f"{self.kind} {self.model.name}" + ("" if self.crafted_on is None else f" on {self.crafted_on.name}")

    @property
    def needs(self) -> tuple[StudyModel, ...]:
        """The models that this stage opens."""
        if self.kind == "train":
            return ()
        return (self.model,) if self.crafted_on is None else (self.model, self.crafted_on)


def stages(settings: StudySettings, only: Sequence[str] = ()) -> tuple[Stage, ...]:
    """All stages in order: the first seed before others, the paper's recipe first, the split by lesions first.

    only: names of architectures, recipes (`recipe-paper`), splits (`split-lesion`) or kinds of stages. For each sort of name
    that is given, only stages with one of these names stay. Raises InvalidInputError for an unknown name.
    """
    allowed = _selected_names(settings, only)
    models = [
        StudyModel(architecture.name, recipe, hardened, split, seed)
        for seed in range(settings.seeds)
        for recipe in settings.recipes
        for split in settings.splits
        for architecture in settings.architectures
        for hardened in (False, True)
        if {architecture.name, f"recipe-{recipe}", f"split-{split}"} <= allowed
    ]
    return tuple(stage for stage in _of_models(models) if stage.kind in allowed)


def _of_models(models: Sequence[StudyModel]) -> Iterator[Stage]:
    """Each model, then its answers to the sets of its partners as soon as these exist; AutoAttack after each split."""
    for _, members in groupby(models, key=_group):
        group = list(members)
        for index, model in enumerate(group):
            yield Stage("train", model)
            for partner in group[:index]:
                if _comparable(partner, model):
                    yield Stage("answer", model, partner)
                    if not model.hardened and not partner.hardened:
                        yield Stage("answer", partner, model)
        yield from (Stage("autoattack", member) for member in sorted(group, key=lambda member: not member.hardened))


def _group(model: StudyModel) -> tuple[str, str, int]:
    """The group of a model. Models of one group have the same test images."""
    return model.recipe, model.split, model.seed


def _comparable(earlier: StudyModel, model: StudyModel) -> bool:
    """Whether the tables show the model on the sets of an earlier one of its group: standard models, and a hardened one on
    its own."""
    if earlier.hardened:
        return False
    return not model.hardened or earlier.arch == model.arch


def _selected_names(settings: StudySettings, only: Sequence[str]) -> set[str]:
    sorts: tuple[tuple[str, ...], ...] = (
        tuple(architecture.name for architecture in settings.architectures),
        tuple(f"recipe-{recipe}" for recipe in settings.recipes),
        tuple(f"split-{split}" for split in settings.splits),
        ("train", "answer", "autoattack"),
    )
    known = [name for names in sorts for name in names]
    for name in only:
        if name not in known:
            raise InvalidInputError(choose_one("--only", name, tuple(known)))
    return {name for names in sorts for name in names if name in only or not set(names) & set(only)}


def is_done(folder: StudyFolder, stage: Stage, settings: StudySettings) -> bool:
    """Whether the files of a stage exist. A stage whose models have changed since is not done."""
    if not all(is_trained(folder, model) for model in (*stage.needs, stage.model)):
        return False
    if stage.kind == "autoattack":
        files = folder.attacked(stage.model)
        return is_crafted(folder, stage.model, files.set_file(autoattack_plan(settings).name))
    if stage.crafted_on is None:
        return True
    return all(answers_there(folder, stage.model, stage.crafted_on, plan.name) for plan in own_plans(settings))


def is_trained(folder: StudyFolder, model: StudyModel) -> bool:
    """Whether the run of a model is finished."""
    return folder.run(model).manifest.exists()


def is_crafted(folder: StudyFolder, model: StudyModel, path: Path) -> bool:
    """Whether the set exists and was crafted on the present model."""
    return path.exists() and open_set(path).info.source == read_run(folder.run(model).path).weights.digest


def answers_there(folder: StudyFolder, model: StudyModel, crafted_on: StudyModel, name: str) -> bool:
    """Whether the answers of the present model to the present set exist."""
    weights = read_run(folder.run(model).path).weights.digest
    image_set = open_set(folder.run(crafted_on).set_file(name))
    return read_answers(folder.answers(model, crafted_on, name), weights=weights, image_set=image_set) is not None


def own_plans(settings: StudySettings) -> tuple[AttackPlan, ...]:
    """The adversarial sets with which each training ends."""
    return set_plans(settings.threat_model, set_attacks(settings))


def set_attacks(settings: StudySettings) -> tuple[str, ...]:
    """The attacks of these sets, which are the paper's."""
    return "fgsm", f"pgd:steps={settings.attack_steps}"


def autoattack_plan(settings: StudySettings) -> AttackPlan:
    """AutoAttack with the study's budget."""
    budget = settings.autoattack
    steps = {"steps": budget.steps, "targets": budget.targets, "queries": budget.queries}
    return AttackPlan("autoattack", settings.threat_model, steps)
