"""PGD on trained runs beside every peer, by CPU time: for machines that other programs keep busy.

python bench/pgd.py RUN... --threads 1 --output docs/results/pgd.md
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import torch

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import versions
from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.bench import libraries, report
from skinaudit.bench.attacks import measure_attacks
from skinaudit.errors import SkinauditError


def main() -> None:
    """Write the page after each run; a missing run or library is one line and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--eps", default="2/255", help="radius under linf (default 2/255)")
    parser.add_argument("--images", type=int, default=200, help="the first test images, one batch (default 200)")
    parser.add_argument("--steps", type=int, default=40, help="PGD steps (default 40)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    try:
        _write(options)
    except SkinauditError as error:
        parser.exit(2, f"pgd: {error}\n")


def _write(options: argparse.Namespace) -> None:
    peers = libraries.enable()
    torch.set_num_threads(1)
    threat_model = ThreatModel("linf", parse_eps(options.eps))
    listed = ", ".join(f"{name} {version}" for name, version in {**versions("torch"), **peers}.items())
    page = f"""# PGD beside its peers

    {shlex.join(["python", "bench/pgd.py", *sys.argv[1:]])}

All contestants work in turns, on one thread. Ours work in a process of their own, which keeps freed memory as skinaudit's
commands do; the peers have torch's settings, as their users have. Seconds are those of the CPU, because other programs kept
the machine busy: medians over the rounds. Ratios are ratios of medians.

- machine: {report.machine(1)}
- versions: {listed}
"""
    for run in options.runs:
        figures = measure_attacks(
            run, images=options.images, threat_model=threat_model, steps=options.steps, rounds=options.rounds,
            own_process=True, say=lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
        page += report.attack_section(figures, setting=f"PGD-{options.steps}, {threat_model}, one random start")
        write_bytes(options.output, page.encode())


if __name__ == "__main__":
    main()
