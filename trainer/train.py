"""One training, from images to a finished run directory."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.numpy import save_file

from skinaudit.artifacts.adversarial_set import CLEAN, AdversarialSet
from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.files import atomic_path, digest_parts
from skinaudit.artifacts.logits import threshold_logit
from skinaudit.artifacts.manifest import FileRecord, RunManifest, read_run, record, versions, write_run
from skinaudit.artifacts.manifest_keys import RELU6
from skinaudit.artifacts.one_writer import one_writer
from skinaudit.artifacts.operating_point import (
    DEFAULT_SPECIFICITY,
    OperatingPoint,
    fix_operating_point,
    malignant_scores,
)
from skinaudit.artifacts.pictures import write_pictures
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.run_sets import CLASSES_FROM, TEST_SET
from skinaudit.artifacts.set_subgroups import of_rows
from skinaudit.artifacts.structure import write_structure
from skinaudit.artifacts.threat_model import Norm, ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import attacks, checkpoint, cpu, generate
from skinaudit.trainer.attack_remarks import attack_remarks
from skinaudit.trainer.claim import claim_folder
from skinaudit.trainer.computing import FP32, Computing, check_computing, training_device
from skinaudit.trainer.curves import draw_curves
from skinaudit.trainer.data.dataset import Dataset, Split
from skinaudit.trainer.data.splits import SplitKind, split
from skinaudit.trainer.data.summary import DataSummary, summarise
from skinaudit.trainer.evaluate import accuracies, logits_of
from skinaudit.trainer.generate import AttackPlan
from skinaudit.trainer.int8_training import calibration_rows, first_epoch
from skinaudit.trainer.loop import Examples, fit
from skinaudit.trainer.models import build, contract_settings, folded, parameter_count, recorded_structure
from skinaudit.trainer.overfitting import overfitting_remark
from skinaudit.trainer.pretrained import load_pretrained
from skinaudit.trainer.process_group import ProcessGroup, joined
from skinaudit.trainer.recipes import Hardening, Recipe, check_classes
from skinaudit.trainer.reporter import Reporter
from skinaudit.trainer.resuming import write_options
from skinaudit.trainer.shards import this_worker
from skinaudit.trainer.temperature import Temperature, cool, fit_temperature
from skinaudit.trainer.weaknesses import weaknesses

SET_ATTACKS = ("fgsm", "pgd-dlr")
_LOG = logging.getLogger(__name__)


Head = Literal["classes", "binary"]


@dataclass(frozen=True)
class Training:
    """Every setting of a training. Invariant: equal values and equal data give equal files on one machine.

    threat_model: of the adversarial sets with which the run ends, and of hardening. weights: ImageNet weights to start from,
    a file or torchvision's name. threads: CPU threads; they affect the bits. head: one column per class, or one for two
    classes, the positive class being answered above `threshold`. calibrate: divide the logits by a temperature that is
    fitted on the validation images. specificities: of the operating points to fix on these images. computing: arithmetic of
    the training steps; it also affects the bits. attacks: for the sets, each as `NAME:key=value,...`. for_int8: share of the
    epochs, at the end, that trains for int8. processes: that train together and share each batch; they affect the bits.
    """

    arch: str
    width: float
    size: int
    recipe: Recipe
    hardening: Hardening | None
    threat_model: ThreatModel
    split: SplitKind
    seed: int
    weights: str | None
    threads: int
    calibrate: bool = False
    specificities: tuple[float, ...] = (DEFAULT_SPECIFICITY,)
    head: Head = "classes"
    threshold: float = 0.5
    computing: Computing = FP32
    attacks: tuple[str, ...] = SET_ATTACKS
    for_int8: float = 0.0
    processes: int = field(default_factory=lambda: this_worker().size)

    def options(self) -> dict[str, Any]:
        """The settings that do not depend on the data, as plain JSON values."""
        sizes = {"arch": self.arch, "width": self.width, "size": self.size, "processes": self.processes}
        return {**self.to_json(), **sizes}

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "recipe": self.recipe.to_json(),
            "hardening": {"kind": "none"} if self.hardening is None else self.hardening.to_json(),
            "threat_model": str(self.threat_model),
            "seed": self.seed,
            "weights": self.weights,
            "threads": self.threads,
            "head": self.head,
            "threshold": self.threshold,
            **self.computing.to_json(),
            **({"for_int8": self.for_int8} if self.for_int8 else {}),
            **({"processes": self.processes} if self.processes > 1 else {}),
        }


def train_run(
    dataset: Dataset, training: Training, *, out: Path, resume: bool, report: Reporter | None = None
) -> RunManifest:
    """Train, evaluate and write a run directory. The manifest `run.json` is written last, so a killed run has none.

    dataset: images of the training's size. If torchrun started several processes, they train together; the first one writes,
    and all return its manifest. Raises InvalidInputError if `out` cannot be used for a run (see `claim_folder`), or if
    another training is writing there.
    """
    worker, report = this_worker(), report or Reporter()
    with joined(worker, training_device()) as group:
        if not worker.writes:
            _fit(dataset, training, out=out, resume=resume, report=Reporter(), group=group)
            group.of_first(None)
            return read_run(out)
        claim_folder(out, resume=resume)
        with one_writer(RunFolder(out).training_lock, place=str(out), say=report.say):
            claim_folder(out, resume=resume)  # again, because another training may have ended in between
            fitted = _fit(dataset, training, out=out, resume=resume, report=report, group=group)
            manifest = _finish(fitted, dataset, training, out=out, report=report)
        group.of_first(None)  # the others wait for it
        return manifest


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A model with the weights that it keeps, its data, and the log of its epochs.

    start: the weights that it began with. bounded: whether training for int8, of this run or of the one whose weights it
    began with, bounded its activations.
    """

    model: torch.nn.Module
    history: list[dict[str, Any]]
    start: str
    contract: InputContract
    summary: DataSummary
    parts: Split
    train: Examples
    val: Examples
    bounded: bool


def _fit(dataset: Dataset, training: Training, *, out: Path, resume: bool, report: Reporter, group: ProcessGroup) -> _Fitted:
    cpu.prepare(training.threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    device = training_device()
    check_computing(training.computing, device)
    parts = split(dataset, kind=training.split, seed=training.seed)
    summary = summarise(dataset, parts)
    report.data(summary)
    contract = run_contract(dataset, training)
    check_classes(training.recipe, training.hardening, contract.classes)
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        # trained at a threshold of one half; another one only moves the decisions, and training must not undo that
        model = build(training.arch, width=training.width, **{**contract_settings(contract), "threshold": 0.5})
    relus = _relus(model)
    start = "random weights"
    if training.weights is not None:
        start = load_pretrained(model, training.arch, training.weights, contract=contract)
    report.say(f"start: {start}")
    together = f", {group.worker.size} processes" if group.worker.size > 1 else ""
    report.say(
        f"{training.arch} x{training.width:g}, {parameter_count(model) / 1e6:.2f} M parameters, on {device} in "
        f"{training.computing.precision}{together}"
    )
    epochs = training.recipe.epochs
    if (first := first_epoch(training.for_int8, epochs=epochs)) < epochs:
        report.say(f"epochs {first + 1} to {epochs} train for int8; one of them is kept, its weights on the int8 grid")
    settings = {
        **training.to_json(),
        "arch": training.arch,
        "width": training.width,
        "data": dataset.digest,
        "split": training.split,
        "classes": contract.classes,
    }
    if group.worker.writes:
        write_options(out, training.options())
    _LOG.info("seed %d, threads: %d, recipe %s", training.seed, training.threads, json.dumps(training.recipe.to_json()))
    if training.hardening is not None:
        _LOG.info("hardening %s", json.dumps(training.hardening.to_json()))
    train = Examples(dataset.images[parts.train], dataset.labels[parts.train])
    val = Examples(dataset.images[parts.val], dataset.labels[parts.val])
    history = fit(
        model.to(device), train, val,
        classes=contract.classes, recipe=training.recipe, hardening=training.hardening, seed=training.seed,
        folder=out, resume=resume, int8_share=training.for_int8,
        settings_digest=digest_parts(json.dumps(settings, sort_keys=True).encode()), computing=training.computing,
        group=group, progress=report.progress("training"), on_epoch=report.epoch,
    )  # fmt: skip
    return _Fitted(model, history, start, contract, summary, parts, train, val, bounded=_relus(model) < relus)


def _relus(model: torch.nn.Module) -> int:
    return sum(type(layer) is torch.nn.ReLU for layer in model.modules())


def _finish(fitted: _Fitted, dataset: Dataset, training: Training, *, out: Path, report: Reporter) -> RunManifest:
    """Write everything but the checkpoints: what is fixed on validation images, weights, records, sets and the manifest."""
    files = RunFolder(out)
    model, history, contract, summary = fitted.model, fitted.history, fitted.contract, fitted.summary
    parts, train, val = fitted.parts, fitted.train, fitted.val
    temperature = calibrate(model, val) if training.calibrate else None
    points = _operating_points(model, val, contract, training.specificities)
    for line in _of_validation(temperature, points):
        report.say(line)
    if contract.positive is not None:
        model[-1].shift = threshold_logit(contract.threshold)  # type: ignore[index]
    kept = max(past["epoch"] for past in history if past["best"])
    draw_curves(history, files.curves, title=f"{out.name}: {summary.title}")
    checkpoint.save(files.weights, model.state_dict(), {"epoch": kept})
    weights = record(files.weights, relative_to=out)
    _LOG.info("kept the weights of epoch %d of %d: %s, %s", kept, len(history), files.weights, weights.digest)
    write_structure(files.structure, recorded_structure(model, size=training.size))
    all_parts = (parts.train, parts.val, parts.test)
    write_pictures(
        files.pictures, dataset.images, dataset.ids, all_parts, seed=training.seed, frames=dataset.frames
    )  # fmt: skip
    calibration = _write_calibration(out, train, seed=training.seed)
    sets = _write_sets(out, model, dataset, parts.test, training, contract, weights=weights, report=report)
    weak = weaknesses(sets[0], sets[1:], kept=history[kept - 1], hardening=training.hardening)
    remarks = [remark for crafted in sets[1:] for remark in attack_remarks(crafted, sets[0])]
    manifest = RunManifest(
        name=out.name,
        contract=contract,
        model={
            "arch": training.arch,
            "width": training.width,
            "parameters": parameter_count(model),
            **({"activations": RELU6} if fitted.bounded else {}),
        },
        data={**_description(summary, dataset), "split": training.split, TEST_SET: sets[0].images_digest},
        synthetic=dataset.synthetic,
        training={
            **training.to_json(),
            "start": fitted.start,
            "kept_epoch": kept,
            "epochs": len(history),
            "device": str(training_device()),
            "weaknesses": [*overfitting_remark(history, kept=kept), *weak, *remarks],
            **({} if temperature is None else {"temperature": asdict(temperature)}),
        },
        results={opened.info.name: _results(opened) for opened in sets},
        weights=weights,
        calibration=calibration,
        sets={opened.info.name: record(opened.path, relative_to=out) for opened in sets},
        created_with=versions("torch", "torchvision", "numpy", "pillow"),
        structure=record(files.structure, relative_to=out),
        operating_points=points,
        pictures=record(files.pictures, relative_to=out),
    )
    write_run(out, manifest)
    for path in (files.checkpoint, files.best, files.options):
        path.unlink()
    return manifest


def run_contract(dataset: Dataset, training: Training) -> InputContract:
    """The input and output contract of a training's model; raises InvalidInputError if head and classes do not fit.

    The positive class of a single column is the malignant one; if not exactly one is malignant, the last of the two.
    """
    contract = InputContract(training.size, classes=dataset.classes, malignant=dataset.malignant)
    if training.head == "classes":
        if training.threshold != 0.5:
            raise InvalidInputError(f"threshold {training.threshold:g}: is for --head binary; leave it out")
        return contract
    if len(dataset.classes) != 2:
        raise InvalidInputError(
            f"--head binary: needs two classes, but {dataset.title} has {len(dataset.classes)}; merge them in a file for "
            "--classes"
        )
    positive = dataset.malignant[0] if len(dataset.malignant) == 1 else dataset.classes[-1]
    return replace(contract, positive=positive, threshold=training.threshold)


def set_plans(threat_model: ThreatModel, names: Sequence[str] = SET_ATTACKS) -> tuple[AttackPlan, ...]:
    """The adversarial sets with which a run ends, for attacks given as `NAME` or `NAME:key=value,...`.

    Raises InvalidInputError for an empty list, unknown attacks or settings, and two that would be the same set.
    """
    if not names:
        raise InvalidInputError("--attack: name one attack at least, such as --attack pgd-dlr")
    plans = tuple(AttackPlan(name, threat_model, settings) for name, settings in map(attacks.parse, names))
    if len({plan.name for plan in plans}) < len(plans):
        raise InvalidInputError(f"--attack: {', '.join(names)}: two of them would be the same set; leave one out")
    for plan in plans:
        generate.check_plan(plan)
    return plans


def threat_model(norm: Norm, eps_255: Fraction) -> ThreatModel:
    """The threat model of a run's sets. Refuses a radius that the 8-bit grid cannot represent, before any time is spent."""
    if eps_255 < 1:
        raise InvalidInputError(f"eps {float(eps_255):g}/255: sets are stored in 8 bit, so choose at least 1/255")
    return ThreatModel(norm, eps_255).on_grid()


def calibrate(model: torch.nn.Module, val: Examples) -> Temperature:
    """Fit the temperature on the validation images, and divide the model's logits by it."""
    temperature = fit_temperature(logits_of(folded(model), val.images), val.labels)
    cool(model, temperature.value)
    return temperature


def _operating_points(
    model: torch.nn.Module, val: Examples, contract: InputContract, specificities: tuple[float, ...]
) -> tuple[OperatingPoint, ...]:
    """Thresholds of the malignant score, from the validation images; none if no class is malignant, or all are."""
    malignant = contract.malignant_labels
    if not 0 < len(malignant) < len(contract.classes):
        return ()
    scores, ill = malignant_scores(logits_of(folded(model), val.images), malignant), np.isin(val.labels, malignant)
    points = [fix_operating_point(scores, ill, specificity=specificity) for specificity in sorted(set(specificities))]
    return tuple(point for point in points if point is not None)


def _of_validation(temperature: Temperature | None, points: tuple[OperatingPoint, ...]) -> Iterator[str]:
    """What was fixed on the validation images, one line each."""
    if temperature is not None:
        likelihoods = f"negative log-likelihood {temperature.before:.3f} -> {temperature.after:.3f}"
        yield f"temperature {temperature.value:.3g} by validation images ({likelihoods})"
    for point in points:
        sensitivity = "" if point.sensitivity is None else f", sensitivity {point.sensitivity:.1%}"
        yield (
            f"malignant above {point.probability:.3g}: specificity {point.reached:.1%}{sensitivity} on "
            f"{point.benign + point.malignant:,} validation images"
        )


def _write_calibration(out: Path, train: Examples, *, seed: int) -> FileRecord:
    chosen = calibration_rows(len(train.labels), seed=seed)
    path = RunFolder(out).calibration
    with atomic_path(path) as temporary:
        save_file({"images": np.ascontiguousarray(train.images[chosen])}, temporary)
    return record(path, relative_to=out)


def _write_sets(
    out: Path,
    model: torch.nn.Module,
    dataset: Dataset,
    test: np.ndarray[Any, np.dtype[np.int64]],
    training: Training,
    contract: InputContract,
    *,
    weights: FileRecord,
    report: Reporter,
) -> list[AdversarialSet]:
    frozen = folded(model)
    files = RunFolder(out)
    clean = generate.write_clean_set(
        files.set_file(CLEAN), frozen,
        images=dataset.images[test], labels=dataset.labels[test], group=dataset.groups[test],
        ids=tuple(dataset.ids[index] for index in test), source=weights.digest, contract=contract,
        dataset=dataset.title, synthetic=dataset.synthetic, subgroups=of_rows(dataset.subgroups, test),
    )  # fmt: skip
    crafted = [
        generate.write_adversarial_set(
            files.set_file(plan.name), frozen, clean, plan,
            source=weights.digest, seed=training.seed, progress=report.progress(f"{plan.attack} {plan.threat_model}"),
        )
        for plan in set_plans(training.threat_model, training.attacks)
    ]  # fmt: skip
    return [clean, *crafted]


def _description(summary: DataSummary, dataset: Dataset) -> dict[str, Any]:
    """The run's record of its images, with the origin of its classes if a file named them."""
    members_of = {name: list(members) for name, members in dataset.classes_from.items()}
    return {**summary.to_json(), **({CLASSES_FROM: members_of} if members_of else {})}


def _results(opened: AdversarialSet) -> Mapping[str, float]:
    """The source model's figures on a stored set, from the stored logits, as shares of 1."""
    classes = opened.info.contract.classes
    predictions = opened.source_logits.argmax(1)
    sensitivity = {
        f"sensitivity_{name}": float((predictions[opened.labels == classes.index(name)] == classes.index(name)).mean())
        for name in opened.info.contract.malignant
        if (opened.labels == classes.index(name)).any()
    }
    return {**accuracies(predictions, opened.labels, classes=len(classes)), **sensitivity}
