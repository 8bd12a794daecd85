"""How long our own attacks take on the device: PGD-40, AutoAttack's cascade and its parts, and with recorded passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.bench.attacks import clean_batch
from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings
from skinaudit.bench.gpu_parts.recorded_passes import RecordedPasses
from skinaudit.bench.hardening import finish
from skinaudit.bench.report import table
from skinaudit.trainer import attacks
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.evaluate import pgd_predictions, to_pixels
from skinaudit.trainer.models import folded

TITLE = "Attacks"
_IMAGES = 256
_EVALUATING = "pgd, evaluating"
_RECORDED = "passes as CUDA graphs"


class Recorded(nn.Module):
    """A frozen model, folded, whose passes are repeated as CUDA graphs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.passes = RecordedPasses(model)
        self.train(model.training)

    def forward(self, images: Tensor) -> Tensor:
        """The model's answers (N, classes) to images (N, 3, H, W)."""
        return self.passes(images)


def measure(settings: Settings, keep: Keep) -> Answer:
    """Seconds and robust accuracy of each attack on the same images; each runs once."""
    torch.backends.cudnn.deterministic = True
    device, threat_model = settings.device, ThreatModel("linf", parse_eps("2/255"))
    frozen = folded(load_run_model(settings.folder).to(device))
    batch = clean_batch(settings.folder, images=settings.attacked)
    count = _IMAGES if settings.provider == "cuda" else settings.attacked
    rows_of = np.resize(np.arange(len(batch.labels)), count)  # a set of fewer images is repeated
    pixels, truth = to_pixels(batch.images[rows_of], device=device), torch.from_numpy(batch.labels[rows_of]).to(device)
    rows: list[list[str]] = []
    figures: dict[str, Any] = {}

    def evaluating() -> float:
        images = batch.images[rows_of]
        answers = pgd_predictions(
            frozen, images, batch.labels[rows_of], threat_model=threat_model, steps=settings.steps, seed=0, batch=count
        )
        return float((answers == batch.labels[rows_of]).mean())

    recorded = Recorded(frozen)

    def attacked(model: nn.Module, name: str, options: dict[str, Any]) -> float:
        attack, chosen = attacks.load(name, options)
        generator = torch.Generator(device).manual_seed(0)
        moved = attack(model, pixels, truth, threat_model=threat_model, generator=generator, **chosen)
        with torch.no_grad():
            return float((frozen(moved).argmax(1) == truth).float().mean())

    def answer() -> Answer:
        caption = (
            f"{count} clean images of {pixels.shape[-1]}x{pixels.shape[-1]} as one batch, {threat_model}, one run each."
        )
        return Answer(f"{caption}\n\n{table(('attack', 'seconds', 'robust accuracy'), rows)}", figures)

    attacked(frozen, "pgd", {"steps": 2})  # the first passes choose kernels
    ways: dict[str, Callable[[], float]] = {}
    for name, options in _planned(settings).items():
        ways[name] = partial(attacked, frozen, name, options)
        if settings.provider == "cuda":
            ways[f"{name}, {_RECORDED}"] = partial(attacked, recorded, name, options)
    ways[_EVALUATING] = evaluating
    for name, way in ways.items():
        finish(device)
        started = time.perf_counter()
        accuracy = way()
        finish(device)
        seconds = time.perf_counter() - started
        rows.append([name, f"{seconds:.2f}", f"{accuracy:.1%}"])
        figures[name] = {
            "seconds": seconds,
            "robust_accuracy": accuracy,
            "settings": _planned(settings).get(name.partition(",")[0], {}),
        }
        keep(answer())
    return answer()


def _planned(settings: Settings) -> dict[str, dict[str, Any]]:
    """The attacks with what differs from their defaults: on a CPU, a few steps of each."""
    if settings.provider == "cuda":
        return {"pgd": {"steps": settings.steps}, "autoattack": {}, "apgd-ce": {}, "apgd-t": {}}
    short = {"steps": 2}
    return {"pgd": short, "apgd-ce": short, "apgd-t": short, "autoattack": {**short, "targets": 2, "queries": 5}}
