"""Robust accuracy and time of each attack beside the same one of other libraries: same model, images, radius and budget.

python bench/strength.py RUN... --eps 2/255 4/255 --l2 64/255 --output peers.md

All get the trained model in evaluation mode, on one thread; our times include folding it. Only images that are answered
rightly are attacked, those that are not count as broken. Robust accuracy is that on the 8-bit grid, but for attacks that
look for the smallest perturbation it is the share of images for which that is longer than eps. Times are seconds of CPU,
because other programs may keep the machine busy (on a GPU: of wall clock). Two images warm each attack up, on a GPU a
whole batch, since cuDNN prepares for each size. There is one round, with one random start. bench/strength_parts/contests.py
has the budgets.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.bench import libraries
from skinaudit.bench.attacks import clean_batch
from skinaudit.bench.own_process import as_a_command
from skinaudit.bench.report import machine
from skinaudit.bench.strength_parts.contests import CONTESTS, DEFAULT, LIBRARIES, Contest
from skinaudit.bench.strength_parts.left import Left, by_peer, by_us
from skinaudit.bench.strength_parts.page import OURS, Cell, page
from skinaudit.bench.tempered import Tempered
from skinaudit.errors import MissingDependencyError
from skinaudit.trainer.checkpoint import load_run_model


def cells(options: argparse.Namespace, known: list[Cell]) -> Iterator[Cell]:
    """A cell for each run, factor, radius, attack and library; those in `known` as they are."""
    done = {cell.key: cell for cell in known}
    for run in options.runs:
        trained = load_run_model(run).to(torch.device(options.device))
        for factor in options.factor:
            model = trained if factor == 1 else Tempered(trained, factor).eval()
            for name in options.attacks:
                contest = CONTESTS[name]
                count = min(options.images, options.costly) if contest.costly else options.images
                for eps in options.l2 if contest.norm == "l2" else options.eps:
                    threat_model = ThreatModel(contest.norm, parse_eps(eps))
                    for library in contestants(contest, options.peers):
                        new = Cell(run.name, contest.norm, eps, name, factor, count, library, contest.smallest)
                        yield done.get(new.key) or measured(new, contest, run, model, threat_model, options)


def contestants(contest: Contest, peers: list[str]) -> tuple[str, ...]:
    """Us, and those of the peers that have the attack."""
    return (OURS, *(name for name in contest.peers if name in peers))


def measured(
    cell: Cell, contest: Contest, run: Path, model: nn.Module, threat_model: ThreatModel, options: argparse.Namespace
) -> Cell:
    """The cell with what the attack left and its seconds, or with the error of a peer that breaks."""
    warm_up = 2 if options.device == "cpu" else cell.images
    attack: Callable[..., Left] = (
        partial(by_us, contest.ours) if cell.library == OURS else partial(by_peer, contest.peers[cell.library])
    )
    apart = cell.library == OURS and options.device == "cpu" and options.threads == 1
    try:
        attack(model, threat_model, clean_batch(run, images=warm_up), size=options.batch)
        work = partial(attack, model, threat_model, clean_batch(run, images=cell.images), size=options.batch)
        return cell.filled(as_a_command(work) if apart else work())
    except Exception as error:  # a peer that breaks is a cell, not the end of the table
        if cell.library == OURS:
            raise
        return cell.failed(error)


def main() -> None:
    """Print a line for each cell; with --output write the table, and its cells as JSON, after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--eps", nargs="+", default=[], help="radii under linf, such as 4/255")
    parser.add_argument("--l2", nargs="+", default=[], metavar="EPS", help="radii for the attacks under l2")
    parser.add_argument("--images", type=int, default=100, help="the first test images (default 100)")
    parser.add_argument("--costly", type=int, default=40, help="images for attacks that take long (default 40)")
    parser.add_argument("--batch", type=int, default=100, help="images of one call (default 100)")
    parser.add_argument("--attacks", nargs="+", choices=CONTESTS, default=DEFAULT, metavar="NAME", help="; ".join(CONTESTS))
    parser.add_argument("--peers", nargs="+", choices=LIBRARIES, default=list(LIBRARIES), metavar="NAME", help="only these")
    parser.add_argument("--no-peer", dest="peers", action="store_const", const=[], help="ours alone")
    parser.add_argument("--factor", type=float, nargs="+", default=[1.0], help="times all logits (default 1)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument(
        "--output", type=Path, metavar="FILE.md", help="the table; cells in the .json beside it are not measured again"
    )
    options = parser.parse_args()
    if not options.eps and not options.l2:
        parser.error("give radii with --eps, --l2 or both")
    torch.set_num_threads(options.threads)
    try:
        if options.peers:
            libraries.enable(*(LIBRARIES[name] for name in options.peers))
    except MissingDependencyError as error:
        parser.exit(2, f"strength: {error}; --no-peer does without\n")
    stored = options.output and options.output.with_suffix(".json")
    known = [Cell(**cell) for cell in json.loads(stored.read_text())] if stored and stored.exists() else []
    shown: list[Cell] = []
    for cell in cells(options, known):
        shown.append(cell)
        print(cell.line(), flush=True)
        if stored:
            kept = {former.key: former for former in (*known, *shown)}
            write_bytes(stored, (json.dumps([vars(former) for former in kept.values()], indent=1) + "\n").encode())
            name = torch.cuda.get_device_name(0) if options.device == "cuda" else machine(options.threads)
            write_bytes(options.output, f"On {name}.\n\n{page(shown)}".encode())
    print(f"\n{page(shown)}")


if __name__ == "__main__":
    main()
