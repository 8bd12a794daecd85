"""PGD beside the peers on one trained model: the same images, batch, radius, step size, steps and kind of start."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skinaudit.artifacts.adversarial_set import CLEAN, open_set
from skinaudit.artifacts.manifest import read_run, resolve
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.bench.own_process import as_a_command
from skinaudit.bench.peers import ATTACKS as PEERS
from skinaudit.bench.timing import Contest, Contestant, Timed, interleaved
from skinaudit.trainer.attacks import pgd
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.evaluate import device_of, logits_of, pgd_predictions, to_pixels
from skinaudit.trainer.input_gradients.fused import fused
from skinaudit.trainer.models import folded

CPU = torch.device("cpu")
EVALUATING = "skinaudit, evaluating"
FULL_BUDGET = "skinaudit, full budget"
TARGETS = {
    ("mobilenet", False): {EVALUATING: 10.0, FULL_BUDGET: 2.3},
    ("mobilenet", True): {EVALUATING: 6.0, FULL_BUDGET: 2.3},
}
"""Times as fast as the fastest peer, by architecture and whether the model is hardened."""
OTHER_TARGETS = {EVALUATING: 5.0, FULL_BUDGET: 1.6}
"""Those of VGG16."""
CUTOFF = 1.3
"""Peers slower than this many times the fastest one run once only."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Clean test images of a run: uint8 (N, 3, H, W), and labels int64 (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class _Setting:
    threat_model: ThreatModel
    steps: int
    peers: tuple[str, ...]


@dataclass(frozen=True)
class AttackFigures:
    """What was measured on one run. seconds and ratios are of medians, accuracies shares of 1 averaged over the rounds.

    ratios: how many times as long the fastest peer takes. targets: those that were asked for. on_folded: the same beside
    our full budget where that peer is given our folded channels-last model.
    """

    run: str
    images: int
    clean_accuracy: float
    seconds: Mapping[str, float]
    accuracy: Mapping[str, float]
    rounds: Mapping[str, int]
    fastest: str
    ratios: Mapping[str, float]
    targets: Mapping[str, float]
    on_folded: float


def clean_batch(run: Path, *, images: int) -> Batch:
    """The first test images of a run."""
    clean = open_set(resolve(run, read_run(run).sets[CLEAN]))
    count = min(images, len(clean))
    return Batch(next(clean.batches(len(clean)))[:count], clean.labels[:count])


def measure_attacks(
    run: Path,
    *,
    images: int,
    threat_model: ThreatModel,
    steps: int,
    rounds: int,
    peers: tuple[str, ...] = tuple(PEERS),
    device: torch.device = CPU,
    say: Callable[[str], None] = lambda _: None,
    own_process: bool = False,
) -> AttackFigures:
    """Attack and predict with each of the `peers` and with skinaudit in turns; each round draws another random start.

    The peers get the trained model as it is, in evaluation mode, which is what their users have. Our times include folding
    it. Wall-clock seconds; torch's threads are left as they are. own_process: see `as_a_command`; seconds of CPU then.
    """
    clock = time.process_time if own_process else None
    model = load_run_model(run).to(device)
    batch = clean_batch(run, images=images)
    attack = _Setting(threat_model, steps, peers)
    interleaved(_contestants(model, clean_batch(run, images=8), attack), rounds=1)  # warm up: a whole round costs minutes
    contestants = _contestants(model, batch, attack)
    if own_process:
        contestants |= {name: partial(_apart, contestants[name]) for name in (EVALUATING, FULL_BUDGET)}
    contest = interleaved(contestants, rounds=rounds, rivals=frozenset(peers), cutoff=CUTOFF, say=say, clock=clock)
    fastest = contest.fastest(*peers)
    on_folded = {f"{fastest} on our folded model": partial(_by_peer, fastest, folded(model), batch, attack)}
    (folded_seconds,) = interleaved(on_folded, rounds=1, say=say, clock=clock).seconds.values()
    clean = logits_of(folded(model), batch.images).argmax(1) == batch.labels
    return _figures(run, len(batch.labels), float(clean.mean()), contest, fastest, folded_seconds[0])


def _contestants(model: nn.Module, batch: Batch, attack: _Setting) -> dict[str, Contestant[float]]:
    return {
        EVALUATING: partial(_evaluate, model, batch, attack),
        FULL_BUDGET: partial(_full_budget, model, batch, attack),
        **{name: partial(_by_peer, name, model, batch, attack) for name in attack.peers},
    }


def _apart(contestant: Contestant[float], number: int) -> Timed[float]:
    def work() -> Timed[float]:
        started = time.process_time()
        answer = contestant(number)
        assert not isinstance(answer, Timed)
        return Timed(answer, time.process_time() - started)

    return as_a_command(work)


def _figures(
    run: Path, images: int, clean: float, contest: Contest[float], fastest: str, folded_seconds: float
) -> AttackFigures:
    manifest = read_run(run)
    key = (manifest.model["arch"], manifest.training["hardening"]["kind"] != "none")
    return AttackFigures(
        run=run.name,
        images=images,
        clean_accuracy=clean,
        seconds={name: contest.median(name) for name in contest.seconds},
        accuracy={name: mean(values) for name, values in contest.answers.items()},
        rounds={name: len(values) for name, values in contest.seconds.items()},
        fastest=fastest,
        ratios={name: contest.ratio(fastest, name) for name in (EVALUATING, FULL_BUDGET)},
        targets=TARGETS.get(key, OTHER_TARGETS),
        on_folded=folded_seconds / contest.median(FULL_BUDGET),
    )


def _evaluate(model: nn.Module, batch: Batch, attack: _Setting, number: int) -> float:
    predictions = pgd_predictions(
        folded(model), batch.images, batch.labels,
        threat_model=attack.threat_model, steps=attack.steps, seed=number, batch=len(batch.labels),
    )  # fmt: skip
    return float((predictions == batch.labels).mean())


def _full_budget(model: nn.Module, batch: Batch, attack: _Setting, number: int) -> float:
    frozen = fused(folded(model))
    device = device_of(frozen)
    labels = torch.from_numpy(batch.labels).to(device)
    generator = torch.Generator(device).manual_seed(number)
    perturbed = pgd.attack(
        frozen, to_pixels(batch.images, device=device), labels,
        threat_model=attack.threat_model, generator=generator, steps=attack.steps, keep="worst",
    )  # fmt: skip
    with torch.no_grad():
        perturbed = perturbed.contiguous(memory_format=torch.channels_last)
        return float((frozen(perturbed).argmax(1) == labels).float().mean())


def _by_peer(name: str, model: nn.Module, batch: Batch, attack: _Setting, number: int) -> float:
    labels, eps = torch.from_numpy(batch.labels).to(device_of(model)), attack.threat_model.eps
    perturbed = PEERS[name](
        model, to_pixels(batch.images, device=labels.device), labels,
        eps=eps, step_size=2.5 * eps / attack.steps, steps=attack.steps, seed=number,
    )  # fmt: skip
    with torch.no_grad():
        return float((model(perturbed).argmax(1) == labels).float().mean())
