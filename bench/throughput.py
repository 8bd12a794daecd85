"""Engines beside torch on the same images: what they answer, and how fast at several batch sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.logits import predictions
from skinaudit.artifacts.manifest import read_engine_manifest, read_run, resolve
from skinaudit.audit.evidence.replay import replay
from skinaudit.audit.figures import metrics
from skinaudit.bench.timing import interleaved
from skinaudit.engines.engine import Engine, Provider
from skinaudit.engines.open import open_engine
from skinaudit.errors import EngineError, MissingDependencyError
from skinaudit.trainer.evaluate import to_pixels

EAGER, COMPILED = "torch eager", "torch.compile"
_SECONDS = 0.25  # that one round of one contestant at one batch size shall take, about


@dataclass(frozen=True)
class Agreement:
    """An engine's answers to one set beside the source model's: accuracies as fractions of 1, flips as images."""

    title: str
    images: int
    source: float
    engine: float
    flips: int


@dataclass(frozen=True)
class Opened:
    """An engine that runs here: what it is called in tables, its file, and the precision in which the runtime computes."""

    name: str
    path: Path
    engine: Engine
    precision: str


def open_all(run: Path, *, provider: Provider, threads: int) -> tuple[tuple[Opened, ...], dict[str, str]]:
    """Open every engine of a run that runs on `provider` here, and say of the others, by file name, why they do not."""
    opened, left_out = [], {}
    for manifest_file in sorted((run / "engines").glob("*.json")):
        path = manifest_file.with_suffix("")
        manifest = read_engine_manifest(path)
        try:
            engine = open_engine(path, runtime=manifest.runtime, provider=provider, threads=threads, allow_code=True)
        except (EngineError, MissingDependencyError) as error:
            left_out[path.name] = str(error)
            continue
        description = engine.description
        computed = description.executed or description.found
        opened.append(
            Opened(f"{description.runtime} {path.name}", path, engine, ", ".join(sorted(computed)) or manifest.asked)
        )
    return tuple(opened), left_out


def sets_of(run: Path) -> tuple[AdversarialSet, ...]:
    """The stored sets of a run, clean first."""
    manifest = read_run(run)
    sets = [open_set(resolve(run, record)) for record in manifest.sets.values()]
    return tuple(sorted(sets, key=lambda stored: stored.info.threat_model is not None))


def agreement(engine: Engine, image_set: AdversarialSet) -> Agreement:
    """Replay a set on an engine and compare it with the stored source logits."""
    answers, source = predictions(replay(engine, image_set).logits), predictions(image_set.source_logits)
    labels = image_set.labels
    return Agreement(
        image_set.info.title, len(image_set), metrics.accuracy(source, labels), metrics.accuracy(answers, labels),
        metrics.flips(source, answers),
    )  # fmt: skip


def contestants(model: nn.Module, engines: Sequence[Opened], *, device: torch.device, compiled: bool) -> dict[str, Answer]:
    """Functions from uint8 (B, 3, H, W) to answers, torch first: the model as it is, in evaluation mode."""
    model = model.to(device).eval()
    functions: dict[str, Answer] = {EAGER: partial(_by_torch, model, device)}
    if compiled:
        functions[COMPILED] = partial(_by_torch, torch.compile(model), device)
    return {**functions, **{opened.name: opened.engine.logits for opened in engines}}


Answer = Callable[[NDArray[np.uint8]], object]


@dataclass(frozen=True)
class Throughput:
    """Median images per second, and the seconds of the two calls before: kernels are chosen or compiled in them."""

    images_per_second: float
    preparing: float


def throughput(answer: Answer, images: NDArray[np.uint8], *, rounds: int) -> Throughput:
    """A contestant alone on one batch, which it repeats for about a quarter of a second a round; from 8-bit images on."""
    started = time.perf_counter()
    answer(images)
    answer(images)
    preparing = time.perf_counter() - started
    started = time.perf_counter()
    answer(images)
    repeats = max(1, round(_SECONDS / (time.perf_counter() - started)))

    def work(_: int) -> None:
        for _ in range(repeats):
            answer(images)

    seconds = interleaved({"": work}, rounds=rounds).median("")
    return Throughput(repeats * len(images) / seconds, preparing)


@torch.no_grad()
def _by_torch(model: nn.Module, device: torch.device, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    answer: NDArray[np.float32] = model(to_pixels(images, device=device)).cpu().numpy()  # waits for the device
    return answer
