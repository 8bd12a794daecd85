"""The training loop: epochs, schedule, early stopping, and checkpoints that resume to the same bits."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from skinaudit.artifacts.files import Progress, append_line, write_bytes
from skinaudit.artifacts.printable import show
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.training_log import RESUMED
from skinaudit.artifacts.typed_json import Known, build
from skinaudit.errors import InvalidInputError, TrainingDivergedError, counted, reason_of
from skinaudit.trainer import checkpoint
from skinaudit.trainer.augment import AUGMENTS
from skinaudit.trainer.computing import FP32, Computing, arithmetic, put, training_function
from skinaudit.trainer.evaluate import accuracies, device_of, logits_of, one_class, pgd_predictions, slices
from skinaudit.trainer.feed import Feed, Tally
from skinaudit.trainer.hardener import Hardener, repeats_of
from skinaudit.trainer.int8_channels import limit
from skinaudit.trainer.int8_training import RoundedModel, begin, calibration_rows, first_epoch, on_grid
from skinaudit.trainer.models import channels_last, folded
from skinaudit.trainer.objective import Objective, build_objective
from skinaudit.trainer.optimisation import Schedule, build_optimiser, build_schedule, follow, moving_average, tail_of
from skinaudit.trainer.overfitting import ONE_STEP, OVERFITTED, overfitted, stopped_by_it
from skinaudit.trainer.process_group import SINGLE, ProcessGroup
from skinaudit.trainer.recipes import Hardening, Recipe

_AGAIN = "delete it to train from the start"
_FROM_START = "delete the folder to train from the start"
_STATE = Annotated[
    Mapping[str, Any],
    Known(
        {
            "settings": str,
            "groups": tuple[Mapping[str, Any], ...],
            "schedule": Mapping[str, Any],
            "history": tuple[RESUMED, ...],
        },
        required=("settings", "groups", "schedule", "history"),
    ),
]
"""Type of what a checkpoint holds besides tensors."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Images uint8 (N, 3, H, W), possibly memory-mapped, and labels int64 (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


Epoch = dict[str, Any]
"""One line of the log: epoch, seconds, images_per_second, learning_rate, loss, train_accuracy, val_*, monitor, best."""


def fit(
    model: nn.Module,
    train: Examples,
    val: Examples,
    *,
    classes: Sequence[str],
    recipe: Recipe,
    hardening: Hardening | None,
    seed: int,
    folder: Path,
    resume: bool,
    settings_digest: str,
    computing: Computing = FP32,
    int8_share: float = 0.0,
    group: ProcessGroup = SINGLE,
    progress: Progress | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train `model` in place and leave it with the weights of its best epoch; returns the log of all epochs.

    If the recipe averages, the weights that are validated and kept are the moving average of the trained ones. int8_share:
    share of the epochs, at the end, that trains for int8. Only these epochs are kept, with bounded activations and with
    weights on the int8 grid. group:
    processes that train the same model, each on its share of every batch, with batch norm over that share. The first one
    validates and writes; all of them end with the same weights.

    After each epoch it writes `checkpoint.safetensors` and `best.safetensors` atomically and appends to `log.jsonl` in
    `folder`. With `resume` it continues after the checkpoint, if there is one, to the same bits as an uninterrupted run on
    the same machine. Raises TrainingDivergedError if the loss becomes NaN or infinite, InvalidInputError for a checkpoint
    with other settings, a batch that is too small for the processes, and processes that do not see the same checkpoint.
    """
    if recipe.batch < 2 * group.worker.size:
        raise InvalidInputError(
            f"--batch {recipe.batch}: {group.worker.size} processes need two images each; choose a larger batch or fewer "
            "processes"
        )
    if not (visited := _visited_images(len(train.labels), recipe.batch, group)):
        raise InvalidInputError(
            f"{counted(len(train.labels), 'training image')}: too few, because each process ({group.worker.size}) needs two;"
            " give more images or start fewer processes"
        )
    channels_last(model)
    optimiser = build_optimiser(model, recipe)
    batches = slices(visited, recipe.batch)
    steps = len(list(batches)) * recipe.epochs * repeats_of(hardening)
    warm_up = 0 if hardening is None else math.ceil(round(hardening.warm_up * steps, 9))
    schedule = build_schedule(optimiser, recipe, steps=steps, warm_up=warm_up)
    average = moving_average(model) if recipe.averaging or recipe.swa else None
    candidate = model if average is None else average.module
    history: list[Epoch] = []
    files = RunFolder(folder)
    if resume and files.checkpoint.exists():
        history = _restore(files.checkpoint, model, average, optimiser, schedule, settings_digest=settings_digest)
    if (first := group.of_first(len(history))) != len(history):
        raise InvalidInputError(
            f"{files.checkpoint}: the first process continues after epoch {first}, this one after epoch {len(history)}; "
            "put the folder of the run on a disk that all processes share"
        )
    if group.worker.writes:
        write_bytes(files.log, "".join(map(_line, history)).encode())
    objective = build_objective(train.labels, classes=classes, recipe=recipe, device=device_of(model))
    feed = Feed(train.images, train.labels, device_of(model))
    function = training_function(model, computing, batch=math.ceil(recipe.batch / group.worker.size))
    measured = calibration_rows(len(train.labels), seed=seed)
    first_rounded = first_epoch(int8_share, epochs=recipe.epochs)
    if len(history) > first_rounded:
        for resumed in (model, candidate):
            limit(resumed)

    def hardener_of(function: Callable[[Tensor], Tensor]) -> Hardener | None:
        if hardening is None:
            return None
        return Hardener(model, hardening, function=function, objective=objective, classes=classes, computing=computing)

    hardener = hardener_of(function)
    for epoch in range(len(history), recipe.epochs):
        if _stopped(history, recipe):
            break
        started = time.perf_counter()
        if epoch == first_rounded:
            begin(model, average, train.images[measured])
            optimiser.state.clear()  # its moments are those of weights with other scales
        if epoch >= first_rounded:
            function = RoundedModel(model, train.images[measured])
            hardener = hardener_of(function)
        with torch.random.fork_rng(), arithmetic(computing, device_of(model)):
            # Dropout uses the global generator. Seeding it per epoch makes a resumed run draw the same numbers.
            torch.manual_seed(_derived(seed, epoch, group.worker.rank))
            loss, accuracy = _train_epoch(
                model, average, feed, optimiser, schedule,
                function=function, hardener=hardener, recipe=recipe, objective=objective,
                tail=tail_of(recipe, steps=steps), seed=_derived(seed, epoch), epoch=epoch, group=group, progress=progress,
            )  # fmt: skip
        seconds = time.perf_counter() - started
        kept = candidate if epoch < first_rounded else on_grid(candidate)
        figures = group.of_first(
            _validate(kept, val, classes=len(classes), recipe=recipe, hardening=hardening, seed=seed)
            if group.worker.writes
            else None
        )
        if figures is None:  # so that no checkpoint contains weights from which the next epoch cannot continue
            raise _diverged("the validation logits became NaN or infinite", epoch, optimiser)
        record: Epoch = {
            "epoch": epoch + 1,
            "seconds": round(seconds, 2),
            "images_per_second": round(len(train.labels) / seconds, 1),
            "learning_rate": optimiser.param_groups[0]["lr"],
            "loss": loss,
            "train_accuracy": accuracy,
            **figures,
        }
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(record["monitor"])
        if ONE_STEP in record and epoch + 1 >= _first_kept(recipe, hardening):
            record[OVERFITTED] = overfitted(
                clean=record["val_accuracy"], one_step=record[ONE_STEP], pgd=record["val_robust_accuracy"]
            )
        record["best"] = _is_best(
            record, history, recipe=recipe, hardening=hardening, before=first_rounded if int8_share else 0
        )
        history.append(record)
        if group.worker.writes:
            if record["best"]:
                checkpoint.save(files.best, kept.state_dict(), {"epoch": epoch + 1})
            _save(files.checkpoint, model, average, optimiser, schedule, history, settings_digest=settings_digest)
            append_line(files.log, _line(record))
        if on_epoch is not None:
            on_epoch(record)
    if group.worker.writes:
        _load_best(model, files.best, history)
    model.eval()
    return history


def _train_epoch(
    model: nn.Module,
    average: AveragedModel | None,
    feed: Feed,
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    function: Callable[[Tensor], Tensor],
    hardener: Hardener | None,
    recipe: Recipe,
    objective: Objective,
    tail: int | None,
    seed: int,
    epoch: int,
    group: ProcessGroup,
    progress: Progress | None,
) -> tuple[float, float]:
    """One pass over the training images; returns mean loss and accuracy on the images as trained on.

    function: `model` as it is trained. tail: see `follow`.
    """
    order = np.random.default_rng(seed).permutation(len(feed))[: _visited_images(len(feed), recipe.batch, group)]
    flips = torch.Generator().manual_seed(seed + 1)
    repeats = 1
    if hardener is not None:
        own = _derived(seed, epoch, group.worker.rank) if group.worker.rank else seed
        hardener.begin(torch.Generator(feed.device).manual_seed(own))
        repeats = hardener.repeats
    tally = Tally(feed.device)
    for part, pixels, truth in feed.batches(order, size=recipe.batch):
        images, labels = AUGMENTS[recipe.augment](pixels, generator=flips), truth
        batch = None
        if hardener is not None:
            shuffled = put(torch.randperm(len(labels), generator=flips), feed.device)
            images, labels = images[shuffled], labels[shuffled]
        mine = group.mine(len(labels))
        weight = objective.share(labels[mine], labels)
        images, labels = images[mine], labels[mine]
        if hardener is not None:
            batch = hardener.batch(images, labels, share=(epoch * len(order) + part.start) / (recipe.epochs * len(order)))
        for _ in range(repeats):
            perturbed = images if hardener is None or batch is None else hardener.perturb(batch)
            model.train()
            if hardener is None or batch is None:
                logits = function(images.contiguous(memory_format=torch.channels_last))
                loss = objective(logits, labels)
            else:
                loss, logits = hardener.loss(batch, perturbed)
            tally.add(loss, logits, labels)
            if (value := tally.diverged(last=part.stop == len(order))) is not None:
                raise _diverged(f"the loss became {value}", epoch, optimiser)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            group.average(model, share=weight)
            if hardener is not None and batch is not None and hardener.sharpens:
                hardener.sharpen(batch, perturbed)
                group.average(model, share=weight)
            optimiser.step()
            if average is not None:
                follow(average, model, decay=recipe.averaging, tail=tail)
            if isinstance(schedule, LambdaLR):
                schedule.step()
        if progress is not None:
            progress(epoch * len(order) + part.stop, recipe.epochs * len(order))
    return tally.means(group)


def _visited_images(count: int, batch: int, group: ProcessGroup) -> int:
    """Number of the `count` images that an epoch uses.

    A last batch that gives a process a single image is skipped, because of batch norm.
    """
    last = count % batch
    return count - last if last < 2 * group.worker.size else count


def _diverged(problem: str, epoch: int, optimiser: torch.optim.Optimizer) -> TrainingDivergedError:
    return TrainingDivergedError(
        f"{problem} in epoch {epoch + 1}: start again with --learning-rate below"
        f" {optimiser.param_groups[0]['lr']:g} (--learning-rate); the checkpoint of the last whole epoch is kept"
    )


def _validate(
    model: nn.Module, val: Examples, *, classes: int, recipe: Recipe, hardening: Hardening | None, seed: int
) -> dict[str, Any] | None:
    """Validation figures. `monitor` is the one named by the recipe; it is measured under attack if the training is hardened.

    `val_one_class` says whether the model gives nearly the same answer to all clean images. Returns None if the model's
    answers contain NaN or infinity.
    """
    frozen = folded(model)
    logits = logits_of(frozen, val.images)
    if not np.isfinite(logits).all():
        return None
    answers = logits.argmax(1)
    figures: dict[str, Any] = {
        f"val_{name}": value for name, value in accuracies(answers, val.labels, classes=classes).items()
    }
    figures["val_one_class"] = one_class(answers, val.labels) is not None
    if hardening is not None:
        predictions = pgd_predictions(
            frozen, val.images, val.labels, threat_model=hardening.threat_model, steps=max(hardening.steps, 5), seed=seed
        )
        robust = accuracies(predictions, val.labels, classes=classes)
        figures |= {f"val_robust_{name}": value for name, value in robust.items()}
        if hardening.steps == 1:
            one_step = pgd_predictions(
                frozen, val.images, val.labels, threat_model=hardening.threat_model, steps=1, seed=seed
            )  # fmt: skip
            figures[ONE_STEP] = accuracies(one_step, val.labels, classes=classes)["accuracy"]
    figures["monitor"] = figures[f"val_{'robust_' if hardening else ''}{recipe.monitor}"]
    return figures


def _is_best(record: Epoch, history: list[Epoch], *, recipe: Recipe, hardening: Hardening | None, before: int = 0) -> bool:
    """Whether to keep this epoch: better than all earlier ones that could be kept. While eps grows, none is kept.

    A model that always answers one class is perfectly stable under attack, so its figure can exceed that of a model that has
    learnt something. It counts as worse than any other, and so does one that overfitted to a one-step attack. before: number
    of epochs that cannot be kept because training for int8 has not begun.
    """
    first = max(_first_kept(recipe, hardening), before + 1)
    if record["epoch"] < first:
        return False
    return _rank(record) > max((_rank(past) for past in history if past["epoch"] >= first), default=(False, -1.0))


def _first_kept(recipe: Recipe, hardening: Hardening | None) -> int:
    """The first epoch, from 1, that ends at full eps."""
    return 1 if hardening is None else math.ceil(round((hardening.warm_up + hardening.ramp) * recipe.epochs, 9))


def _rank(record: Epoch) -> tuple[bool, float]:
    return not (record["val_one_class"] or record.get(OVERFITTED, False)), record["monitor"]


def _stopped(history: list[Epoch], recipe: Recipe) -> bool:
    if stopped_by_it(history):
        return True
    best: int = max((past["epoch"] for past in history if past["best"]), default=len(history))
    return bool(recipe.stop_patience) and len(history) >= best + recipe.stop_patience


def _save(
    path: Path,
    model: nn.Module,
    average: AveragedModel | None,
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
    history: list[Epoch],
    *,
    settings_digest: str,
) -> None:
    tensors, groups = checkpoint.optimiser_tensors(optimiser)
    tensors |= {f"model.{name}": value for name, value in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    state = {
        "settings": settings_digest,
        "groups": groups,
        "schedule": {key: value for key, value in schedule.state_dict().items() if _is_state(value)},
        "history": history,
    }
    checkpoint.save(path, tensors, state)


def _is_state(value: Any) -> bool:
    """Whether an entry of a schedule changes while it runs. Functions do not, and its initial infinity does not."""
    return not callable(value) and not (isinstance(value, float) and math.isinf(value))


def _restore(
    path: Path,
    model: nn.Module,
    average: AveragedModel | None,
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    settings_digest: str,
) -> list[Epoch]:
    tensors, plain = checkpoint.load(path)
    state: Mapping[str, Any] = build(_STATE, plain, where=str(path), again=_AGAIN)
    if state["settings"] != settings_digest:
        raise InvalidInputError(
            f"{path}: belongs to different settings or data; repeat the same options, or choose another --out"
        )
    try:
        model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        if average is not None:
            averaged = {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
            average.load_state_dict(averaged)
        checkpoint.restore_optimiser(optimiser, tensors, list(state["groups"]))
        schedule.load_state_dict(dict(state["schedule"]))
    except (RuntimeError, ValueError, LookupError, TypeError) as error:
        raise InvalidInputError(f"{path}: does not fit this training ({reason_of(error)}); {_AGAIN}") from error
    return [dict(epoch) for epoch in state["history"]]


def _load_best(model: nn.Module, path: Path, history: list[Epoch]) -> None:
    """Load the weights of the kept epoch; raises InvalidInputError if the file is damaged or from another epoch."""
    kept = max((past["epoch"] for past in history if past["best"]), default=0)
    _, state = checkpoint.load(path)
    if not kept or state.get("epoch") != kept:
        raise InvalidInputError(
            f"{path}: has the weights of epoch {show(state.get('epoch'))}, but the training kept epoch {kept}; {_FROM_START}"
        )
    checkpoint.load_weights(model, path)


def _derived(seed: int, epoch: int, rank: int = 0) -> int:
    """An independent seed for each epoch and process."""
    of_process = f"/{rank}" if rank else ""
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}{of_process}".encode()).digest()[:6], "little")


def _line(record: Epoch) -> str:
    return json.dumps(record) + "\n"
