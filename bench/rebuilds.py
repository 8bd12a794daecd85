"""Build the same engines of a run several times and count what differs: `python bench/rebuilds.py runs/hardened`."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.files import digest_file
from skinaudit.audit import metrics
from skinaudit.audit.replay import replay
from skinaudit.bench.report import table
from skinaudit.bench.throughput import sets_of
from skinaudit.engines.open import open_emulated, open_engine
from skinaudit.errors import NoDeviceError
from skinaudit.export.export import export_run
from skinaudit.export.formats import FORMATS


def rows(run: Path, *, builds: int, threads: int) -> list[list[str]]:
    """One row a format and precision: different files among the builds, and the most flips between any two of them.

    The run is copied, and everything but the fp32 reference is built anew each time. A plan that cannot run here is counted
    by its bytes alone.
    """
    made = []
    clean = sets_of(run)[0]
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(shutil.copytree(run, Path(folder) / run.name))
        for name, form in FORMATS.items():
            for precision in form.graphs if form.installed else ():
                if name == "onnx" and precision == "fp32":
                    continue  # the reference is kept, not built again
                digests, answers = [], []
                for _ in range(builds):
                    (one,) = export_run(copied, precisions=[precision], formats=[name], threads=threads)
                    digests.append(digest_file(one.path))
                    try:
                        engine = open_engine(one.path, runtime=form.runtime, threads=threads)
                    except NoDeviceError:
                        engine = open_emulated(one.path.parent / one.manifest.graph.file, threads=threads)
                    answers.append(metrics.predictions(replay(engine, clean).logits))
                how = "its graph" if one.manifest.parity.get("measured_on", "the engine") != "the engine" else "the engine"
                made.append(
                    [one.path.name, f"{len(set(digests))} of {builds}", f"{_most_flips(answers)} of {len(clean)}", how]
                )
    return made


def _most_flips(answers: list[NDArray[np.int64]]) -> int:
    return max(metrics.flips(one, two) for one, two in combinations(answers, 2))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--builds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    columns = ("file", "different files", "most flips between two builds, clean set", "answers of")
    print(table(columns, rows(options.run, builds=options.builds, threads=options.threads)))


if __name__ == "__main__":
    main()
