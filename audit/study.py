"""The figures of a study: the answers of each model to each set, with everything that an accuracy alone hides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.logits import predictions
from skinaudit.artifacts.manifest import RunManifest, read_run, resolve
from skinaudit.artifacts.run_folder import RUN_FILE, set_files
from skinaudit.artifacts.study_folder import (
    StageRecord,
    StudyFolder,
    StudyModel,
    parse_model,
    read_answers,
    read_stages,
)
from skinaudit.artifacts.training_log import read_log
from skinaudit.audit.figures import metrics
from skinaudit.audit.figures.scores import compare_scores
from skinaudit.audit.figures.statistics import Interval, accuracy_interval, balanced_interval
from skinaudit.errors import InvalidInputError

CONFIDENCE = 0.95
PGD_SAMPLE = "pgd-sample"
"""Attack of the rows with PGD on the images of AutoAttack."""

PAPER: Mapping[tuple[str, bool], Mapping[str, float]] = {
    ("mobilenet", False): {"clean": 77.24, "pgd": 2.89, "fgsm": 2.49},
    ("vgg16", False): {"clean": 71.72, "pgd": 8.68, "fgsm": 9.88},
    ("mobilenet", True): {"clean": 76.14, "pgd": 75.94, "fgsm": 63.17},
    ("vgg16", True): {"clean": 70.47, "pgd": 71.05, "fgsm": 50.79},
}
"""Table I of Huq and Pervin (2020), accuracies in %: by architecture and whether it is hardened, then by set."""

PAPER_TRANSFER: Mapping[tuple[str, str], float] = {
    ("mobilenet", "mobilenet"): 2.89,
    ("mobilenet", "vgg16"): 12.77,
    ("vgg16", "mobilenet"): 6.08,
    ("vgg16", "vgg16"): 8.68,
}
"""Table II, accuracies in %: crafted on, tested on."""


def paper_name(arch: str) -> str:
    """The paper's network that an architecture represents: `vgg16` for vgg16_bn."""
    return arch.removesuffix("_bn")


def split_text(split: str) -> str:
    """`split by lesions`, or `random split` for the paper's."""
    return "random split" if split == "paper" else "split by lesions"


@dataclass(frozen=True)
class Figures:
    """One model on one set, as fractions of 1; figures that the images do not determine are None.

    interval: of the accuracy, over lesions. balanced_interval: of the balanced accuracy, from those of its classes.
    first_sensitivity: of the contract's first malignant class. area: under the ROC curve of the malignant score.
    majority_share, constant_balanced: figures of a constant answer.
    """

    images: int
    lesions: int
    accuracy: float
    interval: Interval
    balanced: float
    balanced_interval: Interval
    first_sensitivity: float | None
    malignant_sensitivity: float | None
    area: float | None
    majority_share: float
    constant_balanced: float


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of one model to one set.

    attack: `clean`, `fgsm`, `pgd`, PGD_SAMPLE or `autoattack`. crafted_on: None for clean images. logits: float32 (N,
    classes). labels, groups: int64 (N,).
    """

    model: StudyModel
    attack: str
    crafted_on: StudyModel | None
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    contract: InputContract


@dataclass(frozen=True)
class Row:
    """Figures of one kind of model on one kind of set, over seeds. Invariant: `by_seed` is not empty.

    model: with the first seed. accuracy and the other figures are means over seeds. The interval is computed from all
    answers together; a lesion that several seeds test counts as one.
    """

    model: StudyModel
    attack: str
    crafted_on: StudyModel | None
    figures: Figures
    by_seed: Mapping[int, Figures]

    @property
    def on_itself(self) -> bool:
        """Whether the images were crafted on the tested model, or on none."""
        return self.crafted_on in (None, self.model)


@dataclass(frozen=True)
class Training:
    """How a model of the study was trained. weaknesses: the warnings of its run."""

    model: StudyModel
    epochs: int
    kept_epoch: int
    seconds: float
    images_per_second: float
    device: str
    start: str
    weaknesses: tuple[str, ...]
    leaked_lesions: int | None


@dataclass(frozen=True)
class Study:
    """Everything known about a study so far. first_class: the contract's first malignant class, None if there is none."""

    rows: tuple[Row, ...]
    trainings: tuple[Training, ...]
    stages: tuple[StageRecord, ...]
    dataset: str
    synthetic: bool
    majority_class: str
    first_class: str | None


def read_study(path: Path) -> Study:
    """The figures of a study's folder; raises InvalidInputError if no model is trained yet or a file is damaged."""
    folder = StudyFolder(path)
    models = sorted(
        model for file in folder.runs.glob(f"*/{RUN_FILE}") if (model := parse_model(file.parent.name)) is not None
    )
    manifests = {model: read_run(folder.run(model).path) for model in models}
    if not manifests:
        raise InvalidInputError(f"{path}: no model of the study is trained yet")
    answers = [answered for model in models for answered in _of_model(folder, model, manifests)]
    if not answers:
        raise InvalidInputError(
            f"{folder.run(models[0]).path}: no set of this run was crafted on its weights; delete the run, and it is "
            "trained again"
        )
    first = manifests[models[0]]
    contract = first.contract
    majority, _ = metrics.majority_class(answers[0].labels)
    return Study(
        rows=tuple(rows_of(answers)),
        trainings=tuple(_training(folder, model, manifest) for model, manifest in manifests.items()),
        stages=read_stages(folder),
        dataset=str(first.data.get("title", answers[0].contract.size)),
        synthetic=first.synthetic,
        majority_class=contract.classes[majority],
        first_class=contract.malignant[0] if contract.malignant else None,
    )


def _of_model(
    folder: StudyFolder, model: StudyModel, manifests: Mapping[StudyModel, RunManifest]
) -> Iterator[Answers]:  # fmt: skip
    """All answers of a model: to its own sets, to those of other models, and to AutoAttack."""
    manifest = manifests[model]
    digest = manifest.weights.digest
    own = [open_set(resolve(folder.run(model).path, record)) for record in manifest.sets.values()]
    attacked = [open_set(path) for path in set_files(folder.attacked(model).sets)]
    for image_set in (*own, *(image_set for image_set in attacked if image_set.info.threat_model is not None)):
        if image_set.info.source == digest:
            yield _answers(model, image_set, model, image_set.source_logits)
    yield from _on_sample(model, own, attacked)
    for other, theirs in manifests.items():
        for name, record in theirs.sets.items():
            path = folder.answers(model, other, name)
            if other != model and path.exists():
                image_set = open_set(resolve(folder.run(other).path, record))
                logits = read_answers(path, weights=digest, image_set=image_set)
                if logits is not None:
                    yield _answers(model, image_set, other, logits)


def _on_sample(model: StudyModel, own: Sequence[AdversarialSet], attacked: Sequence[AdversarialSet]) -> Iterator[Answers]:
    """The model's own PGD set restricted to the images on which AutoAttack was run."""
    chosen = {name for image_set in attacked if image_set.info.threat_model is not None for name in image_set.ids}
    for image_set in own:
        if chosen and image_set.info.attack == "pgd":
            rows = np.array([name in chosen for name in image_set.ids])
            whole = _answers(model, image_set, model, image_set.source_logits)
            yield replace(
                whole, attack=PGD_SAMPLE, logits=whole.logits[rows], labels=whole.labels[rows], groups=whole.groups[rows]
            )


def _answers(
    model: StudyModel, image_set: AdversarialSet, crafted_on: StudyModel, logits: NDArray[np.float32]
) -> Answers:  # fmt: skip
    info = image_set.info
    origin = None if info.threat_model is None else crafted_on
    return Answers(model, info.attack, origin, logits, image_set.labels, image_set.group, info.contract)


def figures_of(answers: Answers) -> Figures:
    """Every figure of one model on one set."""
    predicted, labels, contract = predictions(answers.logits), answers.labels, answers.contract
    malignant = contract.malignant_labels
    first = metrics.hits_per_class(predicted, labels, len(contract.classes))[malignant[0]].share if malignant else None
    area = compare_scores(
        answers.logits, None, labels=labels, groups=answers.groups, malignant=malignant, confidence=CONFIDENCE,
        probabilities=False,
    ).engine.area  # fmt: skip
    return Figures(
        images=len(labels),
        lesions=len(np.unique(answers.groups)),
        accuracy=metrics.accuracy(predicted, labels),
        interval=accuracy_interval(predicted == labels, answers.groups, confidence=CONFIDENCE),
        balanced=metrics.balanced_accuracy(predicted, labels),
        balanced_interval=balanced_interval(predicted == labels, labels, answers.groups, confidence=CONFIDENCE),
        first_sensitivity=first,
        malignant_sensitivity=metrics.malignant_sensitivity(predicted, labels, malignant).share,
        area=None if area is None else area.value,
        majority_share=metrics.majority_class(labels)[1],
        constant_balanced=metrics.constant_balanced_accuracy(labels),
    )


def rows_of(answers: Iterable[Answers]) -> Iterator[Row]:
    """One row for models that differ only in the seed, in the order of their first occurrence."""
    kinds: dict[tuple[object, ...], list[Answers]] = {}
    for answered in answers:
        kinds.setdefault((_seedless(answered.model), answered.attack, _seedless(answered.crafted_on)), []).append(answered)
    for several in kinds.values():
        by_seed = {answered.model.seed: figures_of(answered) for answered in several}
        first = several[0]
        yield Row(first.model, first.attack, first.crafted_on, over_seeds(several, list(by_seed.values())), by_seed)


def _seedless(model: StudyModel | None) -> tuple[object, ...]:
    return () if model is None else (model.arch, model.recipe, model.hardened, model.split)


def over_seeds(answers: Sequence[Answers], figures: Sequence[Figures]) -> Figures:
    """The means of several seeds' figures, with the interval of all their answers together."""
    if len(figures) == 1:
        return figures[0]

    def mean(name: str) -> float | None:
        values = [value for of_seed in figures if (value := getattr(of_seed, name)) is not None]
        return float(np.mean(values)) if values else None

    right = np.concatenate([predictions(answered.logits) == answered.labels for answered in answers])
    labels = np.concatenate([answered.labels for answered in answers])
    groups = np.concatenate([answered.groups for answered in answers])
    names = ("accuracy", "balanced", "first_sensitivity", "malignant_sensitivity", "area", "majority_share")
    return Figures(
        images=len(right),
        lesions=len(np.unique(groups)),
        interval=accuracy_interval(right, groups, confidence=CONFIDENCE),
        balanced_interval=balanced_interval(right, labels, groups, confidence=CONFIDENCE),
        constant_balanced=mean("constant_balanced") or 0.0,
        **{name: mean(name) for name in names},  # type: ignore[arg-type]
    )


def _training(folder: StudyFolder, model: StudyModel, manifest: RunManifest) -> Training:
    log = read_log(folder.run(model).log)
    recorded = manifest.training
    return Training(
        model=model,
        epochs=len(log),
        kept_epoch=int(recorded.get("kept_epoch", 0)),
        seconds=sum(float(epoch.get("seconds", 0)) for epoch in log),
        images_per_second=float(np.median([epoch.get("images_per_second", 0) for epoch in log])) if log else 0.0,
        device=str(recorded.get("device", "")),
        start=str(recorded.get("start", "")),
        weaknesses=tuple(recorded.get("weaknesses", ())),
        leaked_lesions=manifest.data.get("leaked_lesions"),
    )


def to_json(study: Study) -> dict[str, Any]:
    """Everything as plain JSON values; shares are fractions of 1."""
    return {"kind": "skinaudit study", **asdict(study)}
