"""Does one stage of a study: train a model, answer a set, or attack a model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from skinaudit.artifacts.adversarial_set import CLEAN, open_set
from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.manifest import RunManifest, read_run
from skinaudit.artifacts.run_sets import open_clean_set
from skinaudit.artifacts.study_folder import StageRecord, StudyFolder, StudyModel, write_answers
from skinaudit.errors import InvalidInputError, TrainingDivergedError
from skinaudit.trainer import cpu, generate
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.computing import Computing, training_device, usual_precision
from skinaudit.trainer.data.dataset import Dataset
from skinaudit.trainer.data.load import load
from skinaudit.trainer.evaluate import logits_of
from skinaudit.trainer.hardening_choice import hardening_of
from skinaudit.trainer.models import folded
from skinaudit.trainer.recipes import Hardening, adapted
from skinaudit.trainer.reporter import Reporter
from skinaudit.trainer.study.settings import StudySettings
from skinaudit.trainer.study.stages import Stage, answers_there, autoattack_plan, own_plans, set_attacks
from skinaudit.trainer.train import Training, train_run


@dataclass(frozen=True)
class Workplace:
    """What every stage needs. data: folder, file or `synthetic`. threads: CPU threads of one stage."""

    out: Path
    data: str
    settings: StudySettings
    threads: int

    @property
    def folder(self) -> StudyFolder:
        """The study's folder."""
        return StudyFolder(self.out)


def do_stage(place: Workplace, stage: Stage, report: Reporter | None = None) -> StageRecord:
    """Do one stage; an interrupted training continues. A training that diverges is a result, not an error.

    So is one whose last weights give logits that a set cannot store.
    """
    report, started = report or Reporter(), time.perf_counter()
    cpu.prepare(place.threads)
    state, remark = "done", ""
    try:
        if stage.kind == "train":
            _train(place, stage.model, report)
        elif stage.kind == "autoattack":
            _autoattack(place, stage.model, report)
        elif stage.crafted_on is not None:
            _answer(place, stage.model, stage.crafted_on)
    except TrainingDivergedError as error:
        state, remark = "failed", str(error)
    except InvalidInputError as error:
        if stage.kind != "train" or not place.folder.run(stage.model).log.exists():
            raise
        state, remark = "failed", str(error)
    return StageRecord(stage.name, state, round(time.perf_counter() - started, 2), device_name(), remark)  # type: ignore[arg-type]


def device_name() -> str:
    """The device on which the stages run."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def dataset_of(place: Workplace, progress: Progress | None = None) -> Dataset:
    """The images of the study at its size, read once per process."""
    return _dataset(place.data, place.settings.size, place.settings.images, progress)


@lru_cache(maxsize=1)
def _dataset(data: str, size: int, images: int, progress: Progress | None) -> Dataset:
    return load(data, size=size, images=images or None, progress=progress)


def _train(place: Workplace, model: StudyModel, report: Reporter) -> None:
    settings = place.settings
    architecture = settings.architecture(model.arch)
    fit = architecture.fit(model.recipe)
    recipe = adapted(
        model.recipe, arch=model.arch, epochs=fit.epochs, batch=fit.batch, learning_rate=fit.learning_rate or None
    )
    hardening: Hardening | None = hardening_of(
        "pgd" if model.hardened else "none", recipe=recipe, threat_model=settings.threat_model,
        steps=settings.hardening_steps, warm_up=None, ramp=None, clean_share=None, batch_norm="eval",
    )  # fmt: skip
    training = Training(
        arch=model.arch, width=architecture.width, size=settings.size, recipe=recipe, hardening=hardening,
        threat_model=settings.threat_model, split=model.split, seed=model.seed, weights=architecture.weights or None,
        threads=place.threads, attacks=set_attacks(settings), computing=_computing(settings, hardened=model.hardened),
    )  # fmt: skip
    out = place.folder.run(model).path
    train_run(dataset_of(place), training, out=out, resume=out.exists(), report=report)


def _computing(settings: StudySettings, *, hardened: bool) -> Computing:
    device = training_device()
    precision = usual_precision(device) if settings.precision == "usual" else settings.precision
    if precision == "bf16-attack" and not hardened:
        precision = "fp32"
    return Computing(precision, cuda_graphs=device.type == "cuda")


def _answer(place: Workplace, model: StudyModel, crafted_on: StudyModel) -> None:
    """The logits of a model on each set of another one."""
    folder = place.folder
    manifest, network = _open(folder, model)
    for plan in own_plans(place.settings):
        if not answers_there(folder, model, crafted_on, plan.name):
            shown = open_set(folder.run(crafted_on).set_file(plan.name))
            logits = np.concatenate([logits_of(network, images) for images in shown.batches(256)])
            path = folder.answers(model, crafted_on, plan.name)
            write_answers(path, logits, weights=manifest.weights.digest, images=shown.images_digest)


def _autoattack(place: Workplace, model: StudyModel, report: Reporter) -> None:
    """AutoAttack on a random sample of the test images, the same sample for all models with the same test images."""
    settings, files = place.settings, place.folder.attacked(model)
    manifest, network = _open(place.folder, model)
    clean = open_clean_set(place.folder.run(model).path, manifest)
    count = min(settings.autoattack.images, len(clean))
    rows = np.sort(np.random.default_rng(model.seed).choice(len(clean), count, replace=False))
    sample = generate.write_clean_set(
        files.set_file(CLEAN), network,
        images=clean.images_at(rows), labels=clean.labels[rows], group=clean.group[rows],
        ids=tuple(clean.ids[row] for row in rows), source=manifest.weights.digest, contract=manifest.contract,
        dataset=clean.info.dataset, synthetic=clean.info.synthetic,
    )  # fmt: skip
    plan = autoattack_plan(settings)
    generate.write_adversarial_set(
        files.set_file(plan.name), network, sample, plan, source=manifest.weights.digest, seed=model.seed,
        progress=report.progress(f"autoattack {model.name}"),
    )  # fmt: skip


def _open(folder: StudyFolder, model: StudyModel) -> tuple[RunManifest, torch.nn.Module]:
    """The run of a model, and its folded model on the device of this machine."""
    run = folder.run(model).path
    manifest = read_run(run)
    network = folded(load_run_model(run, manifest=manifest))
    return manifest, network.to(training_device())
