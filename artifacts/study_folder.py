"""The content of a study's folder: trained models, sets crafted on them, and answers of models to each other's sets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from skinaudit.artifacts.adversarial_set import MAX_LOGIT, AdversarialSet
from skinaudit.artifacts.files import atomic_path
from skinaudit.artifacts.plain_values import parse_json, read_text
from skinaudit.artifacts.run_folder import SET_SUFFIX, RunFolder
from skinaudit.artifacts.tensors import read_tensors
from skinaudit.artifacts.typed_json import Range, build
from skinaudit.errors import InvalidInputError

RecipeName = Literal["paper", "default"]
SplitName = Literal["lesion", "paper"]
_NAME = re.compile(r"([a-z0-9_]+)-(paper|default)-(standard|hardened)-(lesion|paper)-seed(\d+)")
_AGAIN = "delete it, and the stage is done again"


@dataclass(frozen=True, order=True)
class StudyModel:
    """A model of the study: architecture, recipe, split and seed of its training, and whether it is hardened."""

    arch: str
    recipe: RecipeName
    hardened: bool
    split: SplitName
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder, such as `mobilenet-paper-hardened-lesion-seed0`."""
        kind = "hardened" if self.hardened else "standard"
        return f"{self.arch}-{self.recipe}-{kind}-{self.split}-seed{self.seed}"

    @property
    def standard(self) -> StudyModel:
        """The standard model of the same architecture, recipe, split and seed. It has the same test images."""
        return StudyModel(self.arch, self.recipe, False, self.split, self.seed)


def parse_model(name: str) -> StudyModel | None:
    """The inverse of `StudyModel.name`; None for another name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    arch, recipe, kind, split, seed = match.groups()
    return StudyModel(arch, recipe, kind == "hardened", split, int(seed))  # type: ignore[arg-type]


@dataclass(frozen=True)
class StageRecord:
    """One line of a study's log: a stage that ended. state: `done`, or `failed` with the reason in `remark`."""

    stage: str
    state: Literal["done", "failed"]
    seconds: Annotated[float, Range(0)]
    device: str
    remark: str


@dataclass(frozen=True)
class StudyFolder:
    """The paths in a study's folder. The files need not exist."""

    path: Path

    @property
    def lock(self) -> Path:
        """Held while a study works in the folder."""
        return self.path / ".study.lock"

    @property
    def settings(self) -> Path:
        """The settings of the study, as TOML."""
        return self.path / "study.toml"

    @property
    def log(self) -> Path:
        """One JSON object per line for each stage that has ended."""
        return self.path / "stages.jsonl"

    @property
    def page(self) -> Path:
        """Tables, plot, commands and times, for people."""
        return self.path / "paper.md"

    @property
    def figures(self) -> Path:
        """The same figures as JSON."""
        return self.path / "paper.json"

    @property
    def plot(self) -> Path:
        """The plot of the page."""
        return self.path / "stale-set.png"

    @property
    def runs(self) -> Path:
        """The folder of all runs."""
        return self.path / "runs"

    def run(self, model: StudyModel) -> RunFolder:
        """The run of a model."""
        return RunFolder(self.runs / model.name)

    def attacked(self, model: StudyModel) -> RunFolder:
        """The sets of AutoAttack on a model: a sample of its clean set, and the adversarial images."""
        return RunFolder(self.path / "autoattack" / model.name)

    def answers(self, model: StudyModel, crafted_on: StudyModel, name: str) -> Path:
        """The answers of a model to the set `name` that was crafted on another one."""
        return self.path / "answers" / model.name / f"{crafted_on.name}.{name}{SET_SUFFIX}"


def write_answers(path: Path, logits: NDArray[np.float32], *, weights: str, images: str) -> None:
    """Write logits float32 (N, classes). weights: digest of the model's weights. images: digest of the set's images."""
    with atomic_path(path) as temporary:
        save_file({"logits": np.ascontiguousarray(logits)}, temporary, metadata={"weights": weights, "images": images})


def read_answers(path: Path, *, weights: str, image_set: AdversarialSet) -> NDArray[np.float32] | None:
    """The logits of `write_answers`; None if there are none, or if they are for other weights or images.

    Raises InvalidInputError for a damaged file, and for logits that do not fit this number of images and classes.
    """
    if not path.exists():
        return None
    arrays, metadata = read_tensors(path, kind="file of answers", again=_AGAIN)
    if (metadata.get("weights"), metadata.get("images")) != (weights, image_set.images_digest):
        return None
    logits, shape = arrays.get("logits"), (len(image_set), len(image_set.info.contract.classes))
    fits = logits is not None and logits.dtype == np.float32 and logits.shape == shape
    if logits is None or not fits or not (np.abs(logits) <= MAX_LOGIT).all():
        raise InvalidInputError(f"{path}: logits should be finite float32 numbers of shape {shape}; {_AGAIN}")
    return logits


def read_stages(folder: StudyFolder) -> tuple[StageRecord, ...]:
    """The log of a study, first to last; empty if there is no file. Raises InvalidInputError with file, line and field."""
    if not (folder.log.exists() or folder.log.is_symlink()):
        return ()
    records = []
    for number, line in enumerate(read_text(folder.log, kind="log of a study", again=_AGAIN).splitlines(), start=1):
        where = f"{folder.log}: line {number}"
        plain = parse_json(line, where=where, kind="log of a study", again=_AGAIN)
        records.append(build(StageRecord, plain, where=where, again=_AGAIN))
    return tuple(records)
