"""`skinaudit.train`: from images to a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skinaudit.commands.library.arguments import LOG, as_path, as_the_command_takes_them, log_progress, thread_count
from skinaudit.commands.library.optional import TRAINING, need
from skinaudit.commands.library.run_folders import check_out, free_folder, point_latest
from skinaudit.errors import InvalidInputError

if TYPE_CHECKING:
    from skinaudit.artifacts.manifest import RunManifest
    from skinaudit.trainer.recipes import Hardening, Recipe
    from skinaudit.trainer.reporter import Reporter


@dataclass(frozen=True)
class TrainedRun:
    """A finished training. folder: the run directory. manifest: its record; `manifest.results` are figures by set.

    first: whether this process is the only one, or the first of several that trained together.
    """

    folder: Path
    manifest: RunManifest
    first: bool = True


@as_the_command_takes_them
def train(
    data: str | Path = "synthetic",
    *,
    classes: str | Path | None = None,
    arch: str = "mobilenet",
    width: float = 0.25,
    size: int = 64,
    head: Literal["classes", "binary"] = "classes",
    threshold: float = 0.5,
    hardening: str = "none",
    eps: str = "4/255",
    norm: Literal["linf", "l2"] = "linf",
    hardening_eps: str | None = None,
    class_eps: Sequence[str] = (),
    steps: int | None = None,
    awp: float = 0.0,
    warm_up: float | None = None,
    ramp: float | None = None,
    clean_share: float | None = None,
    attack_batch_norm: Literal["eval", "train"] = "eval",
    recipe: Literal["default", "paper"] = "default",
    epochs: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    class_weighting: float | None = None,
    logit_adjustment: float | None = None,
    label_smoothing: float | None = None,
    averaging: float | None = None,
    swa: float | None = None,
    augment: Literal["none", "flips", "affine"] | None = None,
    class_cost: Sequence[str] = (),
    attack: Sequence[str] = (),
    split: Literal["lesion", "paper", "official"] | None = None,
    weights: str | Path | None = None,
    for_int8: float = 0.0,
    calibrate: bool = False,
    specificity: Sequence[float] = (0.9,),
    images: int | None = None,
    seed: int = 0,
    precision: Literal["fp32", "tf32", "bf16", "bf16-attack"] | None = None,
    compile: bool = False,
    cuda_graphs: bool = False,
    skip_bad: bool = False,
    resume: bool = False,
    out: str | Path | None = None,
    threads: int | None = None,
    report: Reporter | None = None,
) -> TrainedRun:
    """Train a classifier and write a run directory: weights, log, curves, and clean, FGSM and PGD sets.

    Each argument is the option of `skinaudit train` with the same name, and has the same default. `runs/latest` becomes a
    link to the run. report: receives the data, the progress and each epoch during the training; without it they go to
    the log. If torchrun started several processes, they train together, and only the first one reports. Raises
    InvalidInputError for arguments, data or a folder that cannot be used, MissingDependencyError without
    the extra `train`, and TrainingDivergedError if the loss becomes NaN or infinite.
    """
    need("train", *TRAINING)
    from skinaudit.trainer.claim import check_folder, claim_folder
    from skinaudit.trainer.shards import this_worker

    worker = this_worker()
    if out is None and worker.size > 1:
        raise InvalidInputError("--out: name the folder of the run, the same for all processes of torchrun")
    folder = as_path(out) or free_folder(f"{arch}-{'standard' if hardening == 'none' else 'hardened'}")
    check_out(folder)
    if worker.writes:
        check_folder(folder, resume=resume)  # before torch is imported, which takes seconds

    from skinaudit.artifacts.threat_model import parse_eps
    from skinaudit.trainer.computing import Computing, check_computing, training_device, usual_precision
    from skinaudit.trainer.data.classes import read_classes
    from skinaudit.trainer.data.load import load
    from skinaudit.trainer.data.splits import usual_split
    from skinaudit.trainer.hardener import check_half_attack
    from skinaudit.trainer.int8_training import FINE_TUNING, first_epoch
    from skinaudit.trainer.recipes import adapted, parse_costs
    from skinaudit.trainer.reporter import Reporter
    from skinaudit.trainer.resuming import check_resumable
    from skinaudit.trainer.train import SET_ATTACKS, Training, set_plans, threat_model, train_run

    report = (report or _log_reporter()) if worker.writes else Reporter()
    settings = {
        "epochs": epochs, "batch": batch, "learning_rate": learning_rate, "class_weighting": class_weighting,
        "augment": augment, "averaging": averaging, "swa": swa, "label_smoothing": label_smoothing,
        "logit_adjustment": logit_adjustment,
    }  # fmt: skip
    from_run = weights is not None and Path(weights).is_dir()  # a trained model
    if for_int8 == 1 and from_run:
        settings |= {name: value for name, value in FINE_TUNING.items() if settings[name] is None}
        ramp = 0.0 if ramp is None else ramp
    chosen = adapted(recipe, arch=arch, class_costs=parse_costs(tuple(class_cost)), **settings)
    bounds = threat_model(norm, parse_eps(eps))
    hardened = _hardening(
        hardening, recipe=chosen, threat_model=bounds, warm_up=0 if from_run and warm_up is None else warm_up,
        hardening_eps=hardening_eps, steps=steps, ramp=ramp,
        clean_share=clean_share, batch_norm=attack_batch_norm, awp=awp, class_eps=class_eps,
    )  # fmt: skip
    device = training_device()
    computing = Computing(precision or usual_precision(device), compile, cuda_graphs)
    check_computing(computing, device)
    check_half_attack(computing, hardened, arch=arch, for_int8=for_int8)
    plan = None if classes is None else read_classes(Path(classes))
    training = Training(
        arch=arch, width=width, size=size, recipe=chosen, hardening=hardened, threat_model=bounds, split=split or "lesion",
        seed=seed, weights=None if weights is None else str(weights), threads=thread_count(threads), head=head,
        threshold=threshold, calibrate=calibrate, specificities=tuple(specificity), computing=computing,
        for_int8=for_int8, attacks=tuple(attack) or SET_ATTACKS,
    )  # fmt: skip
    set_plans(bounds, training.attacks)  # before any time is spent
    if for_int8 and weights is None and first_epoch(for_int8, epochs=chosen.epochs) == 0:
        raise InvalidInputError(
            f"--for-int8 {for_int8:g}: takes all {chosen.epochs} epochs, but random weights need some other epochs first; "
            "give more --epochs, a smaller share, or --weights"
        )
    if worker.writes:
        claim_folder(folder, resume=resume)
    if resume and not check_resumable(folder, training.options()):
        report.say(f"{folder}: no interrupted training to continue; this one begins with its first epoch")
    dataset = load(
        str(data), size=size, seed=seed, images=images, skip_bad=skip_bad, classes=plan,
        progress=report.progress("drawing images" if str(data) == "synthetic" else "reading images"),
    )  # fmt: skip
    training = replace(training, split=split or usual_split(dataset))
    manifest = train_run(dataset, training, out=folder, resume=resume, report=report)
    if worker.writes:
        point_latest(folder)
    return TrainedRun(folder, manifest, first=worker.writes)


def _hardening(
    kind: str,
    *,
    recipe: Recipe,
    hardening_eps: str | None,
    class_eps: Sequence[str],
    **settings: Any,
) -> Hardening | None:
    from skinaudit.artifacts.threat_model import parse_eps
    from skinaudit.trainer.hardening_choice import hardening_of
    from skinaudit.trainer.recipes import parse_class_eps

    return hardening_of(
        kind, recipe=recipe, train_eps_255=None if hardening_eps is None else parse_eps(hardening_eps),
        class_eps=parse_class_eps(tuple(class_eps)), **settings,
    )  # fmt: skip


def _log_reporter() -> Reporter:
    """The reporter of a training that writes to the log."""
    from skinaudit.trainer.reporter import Reporter

    return Reporter(
        say=LOG.info,
        data=lambda summary: LOG.info("%s", "\n".join(summary.lines())),
        epoch=lambda epoch: LOG.info(
            "epoch %d: loss %.3f, validation accuracy %.3f", epoch["epoch"], epoch["loss"], epoch["val_accuracy"]
        ),
        progress=log_progress,
    )
