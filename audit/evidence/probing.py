"""Runs probes: the same fresh attack on the engine and on its reference, compared with the replay."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.logits import Indices, predictions
from skinaudit.artifacts.perturbation import within
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.audit.evidence.probes import Logits, Pixels, Search, Target, load
from skinaudit.engines.engine import Engine
from skinaudit.errors import EngineError, InvalidInputError

SMALL, SMALL_LEAST_QUERIES = "square", 10
"""The probe of every audit, and its smallest number of queries per image."""

WITHOUT_SETS = ThreatModel("linf", Fraction(4))
"""The threat model of probes if no adversarial set has one: that of `skinaudit train`."""


@dataclass(frozen=True, eq=False)
class ProbePlan:
    """A fresh attack to run. settings: all settings of the search by name, with `queries` for each image. images: the
    largest number of images to attack. threat_model: None means the most frequent one of the audit's sets. gated: whether
    the same attack on the reference is a fair comparison; only then is the difference a drop. by_answers: whether the search
    sees only the answers of the engine. small: whether this is the small attack of every audit; it does not search again
    from the stored images.
    """

    name: str
    search: Search
    settings: Mapping[str, int | float]
    threat_model: ThreatModel | None
    images: int
    seed: int
    gated: bool = True
    by_answers: bool = False
    small: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise InvalidInputError(f"seed of probe {self.name}: give a number from 0 to below 2**63")


def usual_threat_model(sets: Sequence[AdversarialSet]) -> ThreatModel:
    """The most frequent threat model of the sets; the first of them on a tie. Without an adversarial set the usual one."""
    threat_models = [image_set.info.threat_model for image_set in sets if image_set.info.threat_model is not None]
    return WITHOUT_SETS if not threat_models else max(threat_models, key=threat_models.count)


def plan_probes(
    chosen: Sequence[str],
    *,
    threat_model: ThreatModel | None,
    images: int,
    queries: int,
    seed: int,
    further: Mapping[str, tuple[Search, bool]] | None = None,
) -> tuple[ProbePlan, ...]:
    """The plans of the chosen probes. further: other probes by name, each with whether it is gated.

    Raises InvalidInputError for an unknown name.
    """
    plans = []
    for name in dict.fromkeys(chosen):
        if further and name in further:
            search, gated = further[name]
            plans.append(ProbePlan(name, search, {"queries": queries}, threat_model, images, seed, gated))
            continue
        search, defaults = load(name)
        settings = {**defaults, "queries": queries}
        plans.append(ProbePlan(name, search, settings, threat_model, images, seed, by_answers=True))
    return tuple(plans)


def small_probe(planned: Sequence[ProbePlan], sets: Sequence[AdversarialSet], *, images: int, seed: int) -> ProbePlan | None:
    """The small fresh attack of every audit; None if `planned` already contains it.

    Its queries are about as many as the sets have images. sets: all sets that are replayed. images: the largest number of
    images to attack; each image gets at least SMALL_LEAST_QUERIES queries.
    """
    usual = usual_threat_model(sets)
    if any(probe.name == SMALL and (probe.threat_model or usual) == usual for probe in planned):
        return None
    search, defaults = load(SMALL)
    attacked = min(images, len(sets[0]))
    queries = max(SMALL_LEAST_QUERIES, sum(map(len, sets)) // attacked)
    settings = {**defaults, "queries": min(queries, int(defaults["queries"]))}
    return ProbePlan(SMALL, search, settings, usual, attacked, seed, by_answers=True, small=True)


@dataclass(frozen=True, eq=False)
class Probed:
    """Which images survived a fresh attack; every array is bool (N,) over the attacked images.

    groups: int64 (N,), their lesions. clean_right: correct without an attack. replay_right: correct without an attack and on
    every stored adversarial image of the same threat model; None if there is no such set. fresh_right: correct without an
    attack and under this probe. worst_right: correct under all of these, and under a probe that starts at the stored images.
    reference_right: fresh_right of the reference under the same attack; None if the reference was not attacked. malignant:
    images of a malignant class. fresh_called: called malignant without an attack and under this probe, whichever malignant
    class is predicted. reference_called: the same of the reference.
    """

    plan: ProbePlan
    threat_model: ThreatModel
    groups: Indices
    queries: int
    seconds: float
    clean_right: NDArray[np.bool_]
    replay_right: NDArray[np.bool_] | None
    fresh_right: NDArray[np.bool_]
    worst_right: NDArray[np.bool_]
    reference_right: NDArray[np.bool_] | None
    malignant: NDArray[np.bool_]
    fresh_called: NDArray[np.bool_]
    reference_called: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class _Attacked:
    """Results of a search.

    right: correct without an attack. still_right: correct without and under the attack. still_called: called malignant in
    both cases. queries: number of queries used.
    """

    right: NDArray[np.bool_]
    still_right: NDArray[np.bool_]
    still_called: NDArray[np.bool_]
    queries: int


def run_probe(
    probe: ProbePlan,
    engine: Engine,
    reference: Engine | None,
    clean: AdversarialSet,
    replayed: Sequence[tuple[AdversarialSet, Indices]],
    *,
    lesions: Indices,
    batch_size: int,
    progress: Progress | None = None,
) -> Probed:
    """Attack a random part of the clean set afresh.

    lesions: int64 (N,), of the clean images. replayed: each adversarial set with the engine's answers to its images, int64
    (N,). The probe is compared with the sets of its threat model. A second search with half the queries starts from the
    first of these sets, unless the probe is the small one. reference: an engine that is attacked with the same random
    numbers; None for no comparison. Raises InvalidInputError if the search leaves the ball, and EngineError for NaN or
    infinity.
    """
    threat_model = probe.threat_model or usual_threat_model([stored for stored, _ in replayed])
    rows = np.sort(np.random.default_rng(probe.seed).permutation(len(clean))[: probe.images])
    images, labels = clean.images_at(rows), clean.labels[rows]
    same_threat = [(stored, answers) for stored, answers in replayed if stored.info.threat_model == threat_model]
    tick = _ticks(progress, len(rows) * (1 if reference is None else 2))
    malignant = clean.info.contract.malignant_labels
    attack = partial(_attack, probe, threat_model, images, labels, malignant)
    started = time.perf_counter()
    fresh = attack(_target(engine, batch_size), start=None, tick=tick)
    queries, replay_right, worst_right = fresh.queries, None, fresh.still_right
    if same_threat:
        replay_right = np.logical_and.reduce([fresh.right, *(answers[rows] == labels for _, answers in same_threat)])
        worst_right = fresh.still_right & replay_right
    if same_threat and not probe.small:
        start = same_threat[0][0].images_at(rows)
        again = np.flatnonzero(worst_right)
        halved = {**probe.settings, "queries": max(1, int(probe.settings["queries"]) // 2)}
        more = attack(_target(engine, batch_size), start=start, rows=again, settings=halved)
        worst_right, queries = worst_right & more.still_right, queries + more.queries
    seconds = time.perf_counter() - started
    beside = None if reference is None else attack(_target(reference, batch_size), start=None, tick=tick)
    return Probed(
        plan=probe,
        threat_model=threat_model,
        groups=lesions[rows],
        queries=queries,
        seconds=seconds,
        clean_right=fresh.right,
        replay_right=replay_right,
        fresh_right=fresh.still_right,
        worst_right=worst_right,
        reference_right=None if beside is None else beside.still_right,
        malignant=np.isin(labels, malignant),
        fresh_called=fresh.still_called,
        reference_called=None if beside is None else beside.still_called,
    )


def _attack(
    probe: ProbePlan,
    threat_model: ThreatModel,
    images: Pixels,
    labels: Indices,
    malignant: Sequence[int],
    target: Target,
    *,
    start: Pixels | None,
    rows: Indices | None = None,
    settings: Mapping[str, int | float] | None = None,
    tick: Callable[[int], None] = lambda _: None,
) -> _Attacked:
    """The results of the search on these images.

    Without `rows` the search gets all images, including misclassified ones. These leave at once, so the random numbers of
    the other images do not depend on the engine.
    """
    named = predictions(target(images))
    right, still_called = named == labels, np.isin(named, malignant)
    attacked = np.arange(len(labels)) if rows is None else rows
    still_right = right.copy()
    if len(attacked) == 0:
        return _Attacked(right, still_right, still_called, len(images))
    adversarial, queries = probe.search(
        target, images[attacked], labels[attacked],
        start=None if start is None else start[attacked], threat_model=threat_model,
        generator=np.random.default_rng(probe.seed), tick=tick, **(settings or probe.settings),
    )  # fmt: skip
    if not within(adversarial, images[attacked], threat_model).all():
        raise InvalidInputError(f"probe {probe.name}: the search left its eps ball, so its results do not count")
    named = predictions(target(adversarial))
    still_right[attacked] &= named == labels[attacked]
    still_called[attacked] &= np.isin(named, malignant)
    return _Attacked(right, still_right, still_called, len(images) + queries + len(attacked))


def _target(engine: Engine, batch_size: int) -> Target:
    def answer(images: Pixels) -> Logits:
        parts = [engine.logits(images[first : first + batch_size]) for first in range(0, len(images), batch_size)]
        logits = np.concatenate(parts)
        if not np.isfinite(logits).all():
            raise EngineError(
                "the engine answers NaN or infinity under a fresh attack; export it again in a wider precision"
            )
        return logits

    return answer


def _ticks(progress: Progress | None, total: int) -> Callable[[int], None]:
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    return tick
