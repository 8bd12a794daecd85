"""What processes for engines cost: opening, replay, and a whole audit, beside the same in one process; writes Markdown.

python bench/isolation.py RUN [--engine FILE ...] [--threads 1] [--rounds 7] [--output docs/results/child.md]
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.manifest import read_run, resolve
from skinaudit.audit.evidence.replay import replay
from skinaudit.bench.replay import engines_of
from skinaudit.bench.timing import interleaved
from skinaudit.engines.isolation.launching import engine_processes, in_this_process
from skinaudit.engines.open import open_engine

_AUDIT = """
import resource, sys
from contextlib import nullcontext
from pathlib import Path
from skinaudit.audit.audit import audit_engine
from skinaudit.engines.isolation.launching import in_this_process
with in_this_process() if sys.argv[1] == "here" else nullcontext():
    audit_engine(Path(sys.argv[2]), threads=int(sys.argv[3]), seed=1)
print(*(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


def measure_opening(engine: Path, *, threads: int, rounds: int) -> tuple[float, float, float]:
    """Median seconds to open an engine here, in a process with its server, and in a process of a server that is there."""

    def here(_: int) -> float:
        with in_this_process():
            open_engine(engine, threads=threads)
        return 0.0

    def anew(_: int) -> float:
        with engine_processes():
            open_engine(engine, threads=threads)
            started = time.perf_counter()
            open_engine(engine, threads=threads)
            return time.perf_counter() - started

    here(0)
    contest = interleaved({"here": here, "anew": anew}, rounds=rounds)
    second = median(contest.answers["anew"])
    return contest.median("here"), contest.median("anew") - second, second


def measure_replay(engine: Path, run: Path, *, threads: int, rounds: int) -> float:
    """How many times as long the replay of the clean set takes in a process of its own: the ratio of medians."""
    clean = open_set(resolve(run, read_run(run).sets["clean"]))
    with in_this_process():
        engine_here = open_engine(engine, threads=threads)
    with engine_processes():
        engine_there = open_engine(engine, threads=threads)
        contestants: dict[str, Callable[[int], object]] = {
            "here": lambda _: replay(engine_here, clean, batch_size=64),
            "there": lambda _: replay(engine_there, clean, batch_size=64),
        }
        interleaved(contestants, rounds=1)
        return interleaved(contestants, rounds=rounds).ratio("there", "here")


def measure_audit(engine: Path, *, threads: int, rounds: int) -> dict[str, tuple[float, float, float]]:
    """Seconds, and peak MiB of the audit and of its largest process, of a default audit here and with processes."""

    def run(place: str) -> tuple[float, float]:
        command = [sys.executable, "-c", _AUDIT, place, str(engine), str(threads)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return int(printed[0]) / 1024, int(printed[1]) / 1024

    contest = interleaved({"here": lambda _: run("here"), "there": lambda _: run("there")}, rounds=rounds)
    return {
        place: (
            contest.median(place),
            median(peak for peak, _ in contest.answers[place]),
            median(peak for _, peak in contest.answers[place]),
        )
        for place in ("here", "there")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--engine", action="append", help="file in its folder engines; may be repeated  [default: all .onnx]"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    chosen = [options.run / "engines" / name for name in options.engine or ()]
    command = shlex.join(["python", "bench/isolation.py", *sys.argv[1:]])
    lines = [
        f"`{command}`, {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}. Medians of turns.",
        "",
        "| engine | opened here, s | in a process, s | its server, s | replay, ratio | audit here, s | with processes, s |"
        " peak here, MiB | peak of the audit, MiB | of its largest process, MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for engine in chosen or engines_of(options.run):
        direct, server, remote = measure_opening(engine, threads=options.threads, rounds=options.rounds)
        ratio = measure_replay(engine, options.run, threads=options.threads, rounds=options.rounds)
        audit = measure_audit(engine, threads=options.threads, rounds=max(3, options.rounds // 2))
        (alone, peak, _), (isolated, own, largest) = audit["here"], audit["there"]
        lines.append(
            f"| {engine.name} | {direct:.2f} | {remote:.2f} | {server:.2f} | {ratio:.3f} | {alone:.1f} | {isolated:.1f} |"
            f" {peak:.0f} | {own:.0f} | {largest:.0f} |"
        )
        print(lines[-1], file=sys.stderr)
    text = "\n".join(lines) + "\n"
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
