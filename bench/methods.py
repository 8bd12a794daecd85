"""Methods of hardening at equal training time on real images, chosen on validation images, tested once.

    python bench/methods.py cost --output costs.json
    python bench/methods.py train --costs costs.json --data HAM10000/ --runs RUNS --jobs 6 --seeds 0
    python bench/methods.py train --costs costs.json --data HAM10000/ --runs RUNS --jobs 6 --seeds 1 2 \
        --methods standard pgd best:4
    python bench/methods.py test --data HAM10000/ --runs RUNS --methods standard pgd best:4 --output tests.json
    python bench/methods.py page --runs RUNS --tests tests.json --costs costs.json --output docs/results/hardening.md

A training that is finished is not trained again. `best:N` are the N candidates of greatest robust balanced validation
accuracy at each eps, averaged over the seeds that are trained.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.threat_model import parse_eps
from skinaudit.bench.method_parts import training
from skinaudit.bench.method_parts.candidates import CANDIDATES, named
from skinaudit.bench.method_parts.costs import epochs_of, measure_costs
from skinaudit.bench.method_parts.page import page
from skinaudit.bench.method_parts.testing import test
from skinaudit.bench.method_parts.training import Job
from skinaudit.trainer.computing import FP32, Computing, training_device

QUICK_ATTACK = "pgd-dlr"
"""On validation images, where it chooses. Test images are attacked by AutoAttack."""


def main() -> None:
    """One part, as named."""
    options = _options()
    {"cost": _cost, "train": _train, "test": _test, "page": _page}[options.part](options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["cost", "train", "test", "page"])
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--images", type=int, default=None, help="of synthetic data")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--eps", nargs="+", default=["2/255", "4/255"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=[], help="names of candidates, or best:N; all by default")
    parser.add_argument("--epochs", type=int, default=20, help="of plain PGD")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--weights", default=None)
    parser.add_argument("--costs", type=Path, default=Path("costs.json"))
    parser.add_argument("--runs", type=Path, default=Path("methods"))
    parser.add_argument("--tests", type=Path, default=Path("tests.json"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--attack", default=None)
    parser.add_argument("--cuda-graphs", action="store_true")
    parser.add_argument("--output", type=Path, default=None)
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _cost(options: argparse.Namespace) -> None:
    device = training_device()
    computing = Computing("tf32", cuda_graphs=options.cuda_graphs) if device.type == "cuda" else FP32
    chosen = [candidate for candidate in _candidates(options) if options.weights or not candidate.pretrained]
    costs = measure_costs(
        chosen, size=options.size, width=options.width, batch=options.batch, images=options.images or 4 * options.batch,
        computing=computing, device=device, say=_say,
    )  # fmt: skip
    write_bytes(options.output or options.costs, json.dumps(costs, indent=1).encode())


def _train(options: argparse.Namespace) -> None:
    jobs = list(_jobs(options))
    _say(f"{len(jobs)} trainings, {sum(job.result.exists() for job in jobs)} of them finished")
    waiting = [job for job in jobs if not job.result.exists()]
    failed = _in_parallel(training.train, waiting, options, attack=options.attack or QUICK_ATTACK)
    results = [json.loads(job.result.read_text(encoding="utf-8")) for job in jobs if job.result.exists()]
    _write_results(options, results, failed)


def _in_parallel(
    work: Callable[..., dict[str, Any]], waiting: list[Job], options: argparse.Namespace, *, attack: str
) -> dict[str, str]:
    """Do the work in a process for each job, `--jobs` at once; none begins after `--minutes`. Returns errors by name."""
    training.data_of(options.data, options.size, options.images)  # decoded once, before the processes open it
    started, failed = time.perf_counter(), {}
    running: dict[Future[dict[str, Any]], Job] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        while waiting or running:
            late = time.perf_counter() - started > 60 * options.minutes
            while waiting and not late and len(running) < options.jobs:
                job = waiting.pop(0)
                running[pool.submit(work, job, attack=attack)] = job
            if not running:
                break
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                job = running.pop(future)
                if (error := future.exception()) is not None:
                    failed[job.path.name] = f"{type(error).__name__}: {error}"
                    _say(f"{job.path.name}: {failed[job.path.name]}")
                else:
                    _say(_line(job, future.result()))
    return failed


def _line(job: Job, result: dict[str, Any]) -> str:
    """What is known of the job now: its test figures where it was tested, those of validation images otherwise."""
    if "test" in result:
        return f"{job.path.name}: tested under {result['attack']}"
    (clean, robust) = (result["validation"][name] for name in ("clean", list(result["validation"])[-1]))
    return (
        f"{job.path.name}: {job.epochs} epochs, {result['seconds']:.0f} s, balanced {clean['balanced_accuracy']:.1%} clean, "
        f"{robust['balanced_accuracy']:.1%} under attack, malignant {robust['malignant_sensitivity']:.1%}"
    )


def _write_results(options: argparse.Namespace, results: list[dict[str, Any]], failed: dict[str, str]) -> None:
    short = [{key: value for key, value in result.items() if key not in ("folder", "data")} for result in results]
    write_bytes(options.output or options.runs / "results.json", json.dumps({"results": short, "failed": failed}).encode())


def _test(options: argparse.Namespace) -> None:
    jobs = [job for job in _jobs(options) if job.result.exists()]
    waiting = [job for job in jobs if not job.tested.exists()]
    _in_parallel(test, waiting, options, attack=options.attack or "autoattack")
    figures = [json.loads(job.tested.read_text(encoding="utf-8")) for job in jobs if job.tested.exists()]
    write_bytes(options.output or options.tests, json.dumps(figures, indent=1).encode())


def _page(options: argparse.Namespace) -> None:
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(options.runs.glob("*/result.json"))]
    tests = json.loads(options.tests.read_text(encoding="utf-8")) if options.tests.exists() else []
    costs = json.loads(options.costs.read_text(encoding="utf-8"))
    text = page(results, tests, costs)
    if options.output is None:
        print(text)
    else:
        write_bytes(options.output, text.encode())


def _jobs(options: argparse.Namespace) -> Iterator[Job]:
    """All trainings that are asked for, by seed, then in the order of the candidates."""
    costs = json.loads(options.costs.read_text(encoding="utf-8"))
    threads = max(1, len(os.sched_getaffinity(0)) // options.jobs)
    radii = [int(parse_eps(eps)) for eps in options.eps]
    for seed in options.seeds:
        for candidate in _candidates(options):
            for eps in radii if candidate.hardening != "none" else [0]:
                if candidate.work not in costs or not _chosen(options, candidate.name, eps):
                    continue
                yield Job(
                    candidate.name, eps, seed, epochs_of(candidate, costs, epochs=options.epochs), str(options.runs),
                    options.data, options.size, options.width, options.batch,
                    options.weights if candidate.pretrained else None, threads, options.cuda_graphs, options.images,
                )  # fmt: skip


def _candidates(options: argparse.Namespace) -> Sequence[Any]:
    if any(name.startswith("best:") for name in options.methods):
        return CANDIDATES
    return named(options.methods)


def _chosen(options: argparse.Namespace, name: str, eps: int) -> bool:
    counts = [int(method.partition(":")[2]) for method in options.methods if method.startswith("best:")]
    if not counts or name in options.methods:
        return True
    return eps > 0 and name in best(options.runs, eps)[: counts[0]]


def best(runs: Path, eps: int) -> list[str]:
    """The hardened candidates by mean robust balanced validation accuracy at this eps, the best one first."""
    robust_of: dict[str, list[float]] = {}
    for path in runs.glob(f"*-{eps}-*/result.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        robust = list(result["validation"].values())[-1]["balanced_accuracy"]  # under the strongest attack
        robust_of.setdefault(result["name"], []).append(robust)
    return sorted(robust_of, key=lambda name: -float(np.mean(robust_of[name])))


if __name__ == "__main__":
    torch.backends.cudnn.benchmark = False
    main()
