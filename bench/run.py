"""Measure skinaudit beside its peers, plain loops and a bare runtime, and write docs/results/bench.md."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import versions
from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.bench import libraries, report
from skinaudit.bench.attacks import measure_attacks
from skinaudit.bench.hardening import measure_hardening
from skinaudit.bench.replay import engines_of, measure_memory, measure_replay
from skinaudit.bench.reports import measure_reports
from skinaudit.errors import SkinauditError
from skinaudit.publish.card.commands import train_command
from skinaudit.publish.run_record import read_run_record
from skinaudit.trainer import cpu

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure, print and write; a missing run or library is one line and exit code 2."""
    options = _options()
    try:
        text = measure(options, say=lambda line: print(line, file=sys.stderr, flush=True))
        write_bytes(options.output, text.encode())
    except SkinauditError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
    print(text)


def measure(options: argparse.Namespace, *, say: Callable[[str], None]) -> str:
    """Everything in one go, as Markdown."""
    started = time.perf_counter()
    peers = libraries.enable()
    cpu.prepare(options.threads)
    threat_model = ThreatModel("linf", parse_eps(options.eps))
    sections = []
    for run in (options.standard, options.hardened):
        say(f"PGD on {run}")
        figures = measure_attacks(
            run, images=options.images, threat_model=threat_model, steps=options.steps, rounds=options.rounds, say=say
        )
        sections.append(report.attack_section(figures, setting=f"PGD-{options.steps}, {threat_model}, one random start"))
    trained = measure_hardening(
        options.hardened, images=options.train_images, threat_model=threat_model, steps=5, rounds=2 * options.rounds - 1,
        say=say,
    )  # fmt: skip
    sections.append(report.hardening_section(trained))
    engines = engines_of(options.hardened)
    replays = [
        measure_replay(engine, options.hardened, rounds=4 * options.rounds + 1, threads=options.threads, say=say)
        for engine in engines
    ]
    memory = measure_memory(engines[0], options.hardened, images=500, threads=options.threads, say=say)
    sections.append(report.replay_section(replays, memory))
    audited = options.audited or engines[0]
    forms = measure_reports(audited, audited.parents[1], rounds=2 * options.rounds + 1, threads=options.threads, say=say)
    sections.append(report.reports_section(forms))
    used = {**versions("torch", "torchvision", "numpy", "onnxruntime", "onnxruntime-gpu"), **peers}
    command = shlex.join(["python", "bench/run.py", *sys.argv[1:]])
    seconds = time.perf_counter() - started
    runs = dict.fromkeys((options.standard, options.hardened, audited.parents[1]))
    trainings = [shlex.join(train_command(read_run_record(run))) for run in runs]
    return report.heading(command, trainings=trainings, threads=options.threads, versions=used, seconds=seconds) + "".join(
        sections
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    runs = ROOT / "runs"
    parser.add_argument("--standard", type=Path, default=runs / "standard", help="run of a standard model")
    parser.add_argument("--hardened", type=Path, default=runs / "hardened", help="run of a hardened model, exported")
    parser.add_argument("--audited", type=Path, help="engine whose audit is reported (default: the hardened run's first)")
    parser.add_argument("--images", type=int, default=200, help="test images that are attacked, one batch (default 200)")
    parser.add_argument("--train-images", type=int, default=512, help="images of a training epoch (default 512)")
    parser.add_argument("--eps", default="2/255", help="radius under linf (default 2/255)")
    parser.add_argument("--steps", type=int, default=40, help="PGD steps of the attacks (default 40)")
    parser.add_argument("--rounds", type=int, default=3, help="of the attacks; cheaper parts take more (default 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="for all (default: all cores)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results" / "bench.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
