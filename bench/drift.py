"""How far honest engines' logits lie from their source's: docs/results/drift.md, the source of the bounds in artifacts.

python bench/drift.py runs/standard-wide runs/hardened-affine --output docs/results/drift.md
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.manifest import manifest_path, read_engine_manifest
from skinaudit.audit.checks.fidelity import EXPLAINED
from skinaudit.audit.evidence.replay import replay
from skinaudit.audit.figures.drift import measure_drift
from skinaudit.bench.report import table
from skinaudit.engines.open import open_engine
from skinaudit.errors import NoDeviceError


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    rows = [row for run in options.runs for row in _rows(run, options.threads)]
    heads = ("engine", "set", "median drift / median margin", "99% / median margin", "largest / range", "near ties", "flips")
    allowed = ", ".join(f"{name} {share:g}" for name, share in EXPLAINED.items())
    options.output.write_text(
        f"""# How far an honest engine's logits lie from its source's

    python bench/drift.py {" ".join(map(str, options.runs))} --output docs/results/drift.md

Engines that `skinaudit export` built and compared. The drift of an image is the largest change of the lead that the
source's answer has over any other class; its margin is the least such lead. Near ties: the margin is at most the image's own
drift. An audit doubts an engine whose median drift exceeds a share of the median margin: {allowed}.

{table(heads, rows)}""",
        encoding="utf-8",
    )


def _rows(run: Path, threads: int) -> Iterator[list[str]]:
    for path in sorted((run / "engines").iterdir()):
        if not manifest_path(path).is_file():
            continue
        try:
            engine = open_engine(path, runtime=read_engine_manifest(path).runtime, threads=threads)
        except NoDeviceError:
            continue
        for one in (open_set(file) for file in sorted((run / "sets").glob("*.safetensors"))):
            logits = replay(engine, one).logits
            contract = one.info.contract
            found = measure_drift(one.source_logits, logits, labels=one.labels, groups=one.group, contract=contract)
            flips = int((logits.argmax(axis=1) != one.source_logits.argmax(axis=1)).sum())
            shares = (found.median / found.median_margin, found.p99 / found.median_margin, found.largest / found.range)
            figures = [f"{share:.1e}" for share in shares]
            yield [f"{run.name} {path.name}", one.info.title, *figures, str(found.near_ties), str(flips)]


if __name__ == "__main__":
    main()
