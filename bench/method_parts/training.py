"""One training of a candidate, and what its model answers under attack: the work of a process of the pool."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.operating_point import malignant_scores
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.bench.method_parts.candidates import Candidate, named
from skinaudit.trainer import attacks, checkpoint, cpu
from skinaudit.trainer.computing import FP32, Computing
from skinaudit.trainer.data.dataset import Dataset, Split
from skinaudit.trainer.data.load import load
from skinaudit.trainer.data.splits import split
from skinaudit.trainer.evaluate import STOP_MARGIN, accuracies, device_of, logits_of, one_class, slices, to_pixels
from skinaudit.trainer.loop import Examples, fit
from skinaudit.trainer.models import build, folded
from skinaudit.trainer.pretrained import load_pretrained
from skinaudit.true_fp32 import true_fp32

SPLIT_SEED = 0
"""One split for all seeds of training: the test images are the same."""


@dataclass(frozen=True)
class Job:
    """A training, in plain values that travel to another process. eps: in 8-bit steps, that which is judged; 0 for none."""

    name: str
    eps: int
    seed: int
    epochs: int
    folder: str
    data: str
    size: int
    width: float
    batch: int
    weights: str | None
    threads: int
    cuda_graphs: bool
    images: int | None = None

    @property
    def candidate(self) -> Candidate:
        """What is trained."""
        return named((self.name,))[0]

    @property
    def path(self) -> Path:
        """The folder of this training."""
        return Path(self.folder) / f"{self.name.replace(' ', '-')}-{self.eps}-{self.seed}"

    @property
    def result(self) -> Path:
        """What a training writes last."""
        return self.path / "result.json"

    @property
    def tested(self) -> Path:
        """What a test writes last."""
        return self.path / "test.json"


@lru_cache(maxsize=1)
def data_of(data: str, size: int, images: int | None) -> tuple[Dataset, Split]:
    """The images and the lesion split that all trainings share."""
    dataset = load(data, size=size, images=images)
    return dataset, split(dataset, kind="lesion", seed=SPLIT_SEED)


def train(job: Job, *, attack: str) -> dict[str, Any]:
    """Train, attack the validation images at every eps that the job names, and write the result; read if it is there."""
    if job.result.exists():
        return dict(json.loads(job.result.read_text(encoding="utf-8")))
    cpu.prepare(job.threads)
    dataset, parts = data_of(job.data, job.size, job.images)
    started = time.perf_counter()
    model, history = _fit(job, dataset, parts)
    seconds = time.perf_counter() - started
    best_epoch = max(epoch["epoch"] for epoch in history if epoch["best"])
    checkpoint.save(job.path / "weights.safetensors", model.state_dict(), {"epoch": best_epoch})
    frozen = folded(model)
    radii = (job.eps,) if job.eps else (2, 4)
    figures = {
        name: summary(logits, dataset, parts.val)
        for name, logits in answers(frozen, dataset, parts.val, radii=radii, attack=attack).items()
    }
    result = {
        **asdict(job), "seconds": round(seconds, 1),
        "training_seconds": round(sum(epoch["seconds"] for epoch in history), 1), "kept_epoch": best_epoch,
        "validation": figures, "history": history,
    }  # fmt: skip
    write_bytes(job.result, json.dumps(result, indent=1).encode())
    return result


def test_logits(job: Job, *, attack: str) -> dict[str, NDArray[np.float32]]:
    """The logits on the test images, clean and under each attack, of a training that is finished."""
    cpu.prepare(job.threads)
    dataset, parts = data_of(job.data, job.size, job.images)
    model = _built(job, dataset)
    checkpoint.load_weights(model, job.path / "weights.safetensors")
    return answers(folded(model), dataset, parts.test, radii=(job.eps,) if job.eps else (2, 4), attack=attack)


def answers(
    model: nn.Module, dataset: Dataset, rows: NDArray[np.int64], *, radii: Sequence[int], attack: str
) -> dict[str, NDArray[np.float32]]:
    """Logits (N, classes) on clean images, under PGD-40 and under `attack`, by name such as `pgd 2/255`."""
    images, labels = dataset.images[rows], dataset.labels[rows]
    logits_by_name = {"clean": logits_of(model, images)}
    for eps in radii:
        threat_model = ThreatModel("linf", Fraction(eps))
        for text in ("pgd:steps=40", attack):
            name = f"{text.partition(':')[0]} {eps}/255"
            logits_by_name[name] = attacked_logits(model, images, labels, threat_model=threat_model, attack=text)
    return logits_by_name


@true_fp32()
def attacked_logits(
    model: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64], *, threat_model: ThreatModel, attack: str
) -> NDArray[np.float32]:
    """Logits (N, classes) at the ends of an attack whose images leave it once they are broken."""
    device = device_of(model)
    function, settings = attacks.load(*attacks.parse(attack))
    if "stop_margin" in settings:
        settings = {**settings, "stop_margin": STOP_MARGIN}
    generator = torch.Generator(device).manual_seed(0)
    logits = []
    for part in slices(len(labels), 1024 if device.type == "cuda" else 200):
        perturbed = function(
            model, to_pixels(images[part], device=device), torch.from_numpy(labels[part]).to(device),
            threat_model=threat_model, generator=generator, **settings,
        )  # fmt: skip
        with torch.no_grad():
            logits.append(model(perturbed.contiguous(memory_format=torch.channels_last)).cpu().numpy())
    return np.concatenate(logits)


def summary(logits: NDArray[np.float32], dataset: Dataset, rows: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, balanced accuracy, malignant sensitivity and AUC, sensitivity to the first malignant class; shares of 1."""
    labels, predictions = dataset.labels[rows], logits.argmax(1)
    malignant = [dataset.classes.index(name) for name in dataset.malignant]
    ill = np.isin(labels, malignant)
    called = np.isin(predictions, malignant)
    first = labels == malignant[0]
    return {
        **accuracies(predictions, labels, classes=len(dataset.classes)),
        "malignant_sensitivity": float(called[ill].mean()),
        "malignant_specificity": float((~called[~ill]).mean()),
        "malignant_auc": area(malignant_scores(logits, malignant), ill),
        f"sensitivity_{dataset.malignant[0]}": float((predictions[first] == malignant[0]).mean()),
        "one_class": float(one_class(predictions, labels) is not None),
    }


def area(scores: NDArray[np.float64], ill: NDArray[np.bool_]) -> float:
    """The area under the ROC curve: how often an ill image scores above a healthy one, ties as one half."""
    ranks = np.empty(len(scores))
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    sick = int(ill.sum())
    return float((ranks[ill].sum() - sick * (sick + 1) / 2) / (sick * (len(ill) - sick)))


def _built(job: Job, dataset: Dataset) -> nn.Module:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        width = 1.0 if job.candidate.pretrained else job.width
        return build("mobilenet", width=width, size=job.size, classes=len(dataset.classes)).to(device)


def _fit(job: Job, dataset: Dataset, parts: Split) -> tuple[nn.Module, list[dict[str, Any]]]:
    candidate = job.candidate
    recipe = candidate.recipe_of(epochs=job.epochs, batch=job.batch, malignant=dataset.malignant)
    hardening = candidate.hardening_for(Fraction(job.eps or 2), recipe=recipe, malignant=dataset.malignant)
    model = _built(job, dataset)
    if candidate.pretrained:
        if job.weights is None:
            raise ValueError(f"{job.name}: needs --weights, ImageNet weights of a MobileNet at width 1")
        load_pretrained(model, "mobilenet", job.weights)
    job.path.mkdir(parents=True, exist_ok=True)
    on_gpu = device_of(model).type == "cuda"
    computing = Computing("tf32", cuda_graphs=job.cuda_graphs and hardening is not None) if on_gpu else FP32
    part = {name: Examples(dataset.images[rows], dataset.labels[rows]) for name, rows in _parts(parts).items()}
    history = fit(
        model, part["train"], part["val"], classes=dataset.classes, recipe=recipe, hardening=hardening, seed=job.seed,
        folder=job.path, resume=True, settings_digest=json.dumps(asdict(job), sort_keys=True), computing=computing,
    )  # fmt: skip
    return model, history


def _parts(parts: Split) -> Mapping[str, NDArray[np.int64]]:
    return {"train": parts.train, "val": parts.val}
