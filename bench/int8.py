"""Print how often int8 files of runs change the answer of their source, and how fast they are beside fp32 files.

`python bench/int8.py runs/standard runs/standard-int8` shows the stored sets of each run to its engines in int8 that run on
a CPU. Then all engines in int8 and fp32 of all runs compute the same batch in turns in this process. Their CPU times are
compared, because other programs disturb them less than wall-clock times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.logits import predictions
from skinaudit.bench.throughput import Opened, agreement, open_all, sets_of
from skinaudit.bench.timing import Contestant, interleaved
from skinaudit.engines.open import Opening, open_here, runtime_of
from skinaudit.engines.session import SessionEngine
from skinaudit.trainer.evaluate import accuracies


def flips(run: Path, engines: Sequence[Opened]) -> Iterator[str]:
    """Markdown rows: a set, the source's accuracy and balanced accuracy on it, and changed answers of each engine."""
    sets = sets_of(run)
    names = [engine.path.name for engine in engines]
    yield f"| {run.name} | images | accuracy, % | balanced, % | {' | '.join(f'{name}, changed' for name in names)} |"
    yield f"| --- |{' ---: |' * (3 + len(names))}"
    for stored in sets:
        shares = accuracies(predictions(stored.source_logits), stored.labels, classes=len(stored.info.contract.classes))
        cells = [f"{100 * shares['accuracy']:.1f}", f"{100 * shares['balanced_accuracy']:.1f}"]
        for engine in engines:
            changed = agreement(engine.engine, stored).flips
            cells.append(f"{changed} ({100 * changed / len(stored):.1f}%)")
        yield f"| {stored.info.title} | {len(stored)} | {' | '.join(cells)} |"


def speeds(runs: Sequence[Path], files: Sequence[Path], *, batch: int, rounds: int) -> Iterator[str]:
    """Markdown rows: the median CPU time of each engine for an image, in one batch of the first run's clean images."""
    images = next(sets_of(runs[0])[0].batches(batch))
    contestants: dict[str, Contestant[object]] = {}
    for path in files:
        session = open_here(Opening(path, runtime_of(path), "cpu", 1))
        engine = SessionEngine(session, where=str(path), contract=None, order=None, own=None)
        contestants[f"{path.parents[1].name} {path.name}"] = partial(_answers, engine, images)
    interleaved(contestants, rounds=2)
    contest = interleaved(contestants, rounds=rounds, clock=time.process_time)
    for name in contestants:
        yield f"| {name} | {batch} | {1000 * contest.median(name) / (batch * _REPEATS):.3f} |"


_REPEATS = 8
"""Batches in a round."""


def _answers(engine: SessionEngine, images: NDArray[np.uint8], _: int) -> None:
    for _ in range(_REPEATS):
        engine.logits(images)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="finished runs with engines in fp32 and int8")
    parser.add_argument("--rounds", type=int, default=40, help="of the timing (default: 40); 0 for none")
    options = parser.parse_args()
    files = []
    for run in options.runs:
        engines, _ = open_all(run, provider="cpu", threads=1)
        chosen = [engine for engine in engines if engine.path.name.startswith(("fp32", "int8"))]
        files += [engine.path for engine in chosen]
        for line in flips(run, [engine for engine in chosen if engine.path.name.startswith("int8")]):
            print(line, flush=True)
        print()
    if options.rounds:
        print("| engine | batch | CPU ms for an image |\n| --- | ---: | ---: |")
        for batch in (1, 32):
            for line in speeds(options.runs, files, batch=batch, rounds=options.rounds):
                print(line, flush=True)


if __name__ == "__main__":
    main()
