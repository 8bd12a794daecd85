"""One epoch of PGD adversarial training beside ART's Madry trainer and plain loops: same model, images, batch and steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skinaudit.artifacts.contract import CLASSES
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.bench.attacks import Batch, clean_batch
from skinaudit.bench.timing import Contestant, interleaved
from skinaudit.trainer import loop, optimisation
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.computing import FP32, Computing, arithmetic, training_function
from skinaudit.trainer.evaluate import device_of, slices, to_pixels
from skinaudit.trainer.feed import Feed
from skinaudit.trainer.hardener import Hardener
from skinaudit.trainer.models import channels_last
from skinaudit.trainer.objective import build_objective
from skinaudit.trainer.process_group import SINGLE
from skinaudit.trainer.recipes import RECIPES, Hardening, Recipe

OURS = "skinaudit, hardened"
STANDARD = "skinaudit, standard"
ART = "ART AdversarialTrainerMadryPGD"
PLAIN = "plain loop, autograd.grad"
BACKWARD = "plain loop, loss.backward"
TARGETS = {ART: 2.5, PLAIN: 1.6, BACKWARD: 1.6}
STANDARD_SHARE = 1.15
"""A hardened epoch may cost (steps + 1) times this many standard epochs."""

# A small learning rate keeps the weights near the trained ones, however many rounds there are.
RECIPE = replace(RECIPES["default"], batch=64, learning_rate=1e-4, schedule="plateau")


@dataclass(frozen=True)
class HardeningFigures:
    """Median seconds of one epoch by contestant. ratios: how many times as long the others take as our hardened epoch.

    in_standard_epochs: our hardened epoch measured in our standard epochs.
    """

    images: int
    batch: int
    steps: int
    rounds: int
    seconds: Mapping[str, float]
    ratios: Mapping[str, float]
    in_standard_epochs: float


def measure_hardening(
    run: Path,
    *,
    images: int,
    threat_model: ThreatModel,
    steps: int,
    rounds: int,
    say: Callable[[str], None] = lambda _: None,
) -> HardeningFigures:
    """Train copies of a run's model for one epoch a round, in turns; each keeps its weights and optimiser between rounds.

    Ours is the training loop itself, with its augmentation and class weights, which the others do without. A small epoch
    warms up first. Wall-clock seconds.
    """
    model = load_run_model(run).requires_grad_(True)
    hardening = Hardening(threat_model, steps=steps, ramp=0.0)
    interleaved(_contestants(model, clean_batch(run, images=8), hardening), rounds=1)
    batch = clean_batch(run, images=images)
    contest = interleaved(_contestants(model, batch, hardening), rounds=rounds, say=say)
    return HardeningFigures(
        images=len(batch.labels),
        batch=RECIPE.batch,
        steps=steps,
        rounds=rounds,
        seconds={name: contest.median(name) for name in contest.seconds},
        ratios={name: contest.ratio(name, OURS) for name in TARGETS},
        in_standard_epochs=contest.ratio(OURS, STANDARD),
    )


def _contestants(model: nn.Module, batch: Batch, hardening: Hardening) -> dict[str, Contestant[None]]:
    return {
        STANDARD: ours(copy.deepcopy(model), batch, None),
        OURS: ours(copy.deepcopy(model), batch, hardening),
        PLAIN: plain(copy.deepcopy(model), batch, hardening, "grad"),
        BACKWARD: plain(copy.deepcopy(model), batch, hardening, "backward"),
        ART: by_art(copy.deepcopy(model), batch, hardening),
    }


def ours(
    model: nn.Module, batch: Batch, hardening: Hardening | None, *, recipe: Recipe = RECIPE, computing: Computing = FP32
) -> Contestant[None]:
    """An epoch of the training loop itself on the model's device, with its augmentation, class weights and average."""
    device = device_of(channels_last(model))
    optimiser = optimisation.build_optimiser(model, recipe)
    schedule = optimisation.build_schedule(optimiser, recipe, steps=1)
    average = optimisation.moving_average(model)
    objective = build_objective(batch.labels, classes=CLASSES, recipe=recipe, device=device)
    feed = Feed(batch.images, batch.labels, device)
    function = training_function(model, computing, batch=recipe.batch)
    hardener = None
    if hardening is not None:
        hardener = Hardener(
            model, hardening, function=function, objective=objective, classes=CLASSES, computing=computing
        )  # fmt: skip

    def epoch(number: int) -> None:
        torch.backends.cudnn.deterministic = True  # as `skinaudit train` sets it
        with arithmetic(computing, device):
            loop._train_epoch(
                model, average, feed, optimiser, schedule,
                function=function, hardener=hardener, recipe=recipe, objective=objective, tail=None, seed=number,
                epoch=0, group=SINGLE, progress=None,
            )  # fmt: skip
        finish(device)

    return epoch


def finish(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain(
    model: nn.Module,
    batch: Batch,
    hardening: Hardening | None,
    gradient: Literal["grad", "backward"],
    *,
    recipe: Recipe = RECIPE,
    bf16: bool = False,
) -> Contestant[None]:
    """Madry's loop as it is usually written: float images on the device, the attack on the model in training.

    `grad` asks autograd for the input's gradient only, as TRADES does; `backward` also computes that of the weights, as
    fast_adversarial does. bf16: all passes under autocast. Without hardening, the same loop on clean images.
    """
    device = device_of(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    pixels, truth = to_pixels(batch.images, device=device), torch.from_numpy(batch.labels).to(device)

    def epoch(number: int) -> None:
        torch.backends.cudnn.deterministic = False  # torch's default
        torch.manual_seed(number)
        order = torch.randperm(len(truth)).to(device)
        for part in slices(len(order), recipe.batch):
            images, labels = pixels[order[part]], truth[order[part]]
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                if hardening is not None:
                    model.eval()
                    images = _plain_pgd(model, images, labels, hardening, gradient)
                model.train()
                loss = functional.cross_entropy(model(images), labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        finish(device)

    return epoch


def _plain_pgd(
    model: nn.Module, images: Tensor, labels: Tensor, hardening: Hardening, gradient: Literal["grad", "backward"]
) -> Tensor:
    eps = hardening.threat_model.eps
    perturbed = (images + torch.empty_like(images).uniform_(-eps, eps)).clamp(0, 1)
    for _ in range(hardening.steps):
        perturbed.requires_grad_()
        loss = functional.cross_entropy(model(perturbed), labels)
        if gradient == "grad":
            (direction,) = torch.autograd.grad(loss, perturbed)
        else:
            loss.backward()  # type: ignore[no-untyped-call]
            assert perturbed.grad is not None
            direction = perturbed.grad
        perturbed = perturbed.detach() + 2.5 * eps / hardening.steps * direction.sign()
        perturbed = torch.min(torch.max(perturbed, images - eps), images + eps).clamp(0, 1).detach()
    return perturbed


def by_art(model: nn.Module, batch: Batch, hardening: Hardening, *, recipe: Recipe = RECIPE) -> Contestant[None]:
    """An epoch of ART's trainer, as its documentation runs it; on the CPU."""
    from art.defences.trainer import AdversarialTrainerMadryPGD
    from art.estimators.classification import PyTorchClassifier

    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), batch.images.shape[1:], 7,
        optimizer=optimiser, clip_values=(0.0, 1.0), device_type="cpu",
    )  # fmt: skip
    eps = hardening.threat_model.eps
    trainer: Any = AdversarialTrainerMadryPGD(
        classifier, nb_epochs=1, batch_size=recipe.batch, eps=eps, eps_step=2.5 * eps / hardening.steps,
        max_iter=hardening.steps, num_random_init=1,
    )  # fmt: skip
    pixels = to_pixels(batch.images, device=torch.device("cpu")).numpy()
    truth = np.eye(7, dtype=np.float32)[batch.labels]

    def epoch(number: int) -> None:
        np.random.seed(number)  # ART draws its starts there
        trainer.fit(pixels, truth)

    return epoch
