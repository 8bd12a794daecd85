"""AutoAttack's robust accuracy and its CPU time beside torchattacks' own parts, and beside the floor of our gradients.

python bench/autoattack.py runs/standard runs/hardened --eps 1/255 4/255 --images 200 --work bench-autoattack

Both run on one thread, on the model as it was trained; our times include folding it. The peer's APGD-CE, APGD-T, FAB-T and
Square follow one after the other with the settings of the original, each on the images that the former left. Times are
seconds of CPU, because other programs may keep the machine busy. Robust accuracy is that on the 8-bit grid. A cell of the
peer that is in --work is not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.bench import libraries
from skinaudit.bench.attacks import Batch, clean_batch
from skinaudit.bench.own_process import as_a_command
from skinaudit.bench.report import table
from skinaudit.bench.strength_parts.contests import AUTOATTACK
from skinaudit.bench.strength_parts.left import standing
from skinaudit.trainer.ascent.look import answer, look
from skinaudit.trainer.ascent.losses import dlr
from skinaudit.trainer.attacks import autoattack
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.evaluate import STOP_MARGIN, to_pixels
from skinaudit.trainer.input_gradients.fused import fused
from skinaudit.trainer.models import folded

_AT_ONCE = 100
"""Images of one call of the peer, which cuts no batch itself."""
_CPU = torch.device("cpu")


class Counted(nn.Module):
    """A model that counts the images whose gradient, or whose answer alone, was asked for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.gradients, self.answers = model, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        if images.requires_grad:
            self.gradients += len(images)
        else:
            self.answers += len(images)
        logits: Tensor = self.model(images)
        return logits


@dataclass(frozen=True)
class Ours:
    """Images that stand, seconds of CPU, what was asked of the model, and the least seconds that this takes."""

    standing: tuple[bool, ...]
    seconds: float
    gradients: int
    answers: int
    floor: float


@dataclass(frozen=True)
class Peer:
    """The same of torchattacks; parts: name, images that stand after it, seconds of CPU."""

    standing: tuple[bool, ...]
    parts: tuple[tuple[str, int, float], ...]

    @property
    def seconds(self) -> float:
        """Of all parts."""
        return sum(seconds for _, _, seconds in self.parts)


def ours(model: nn.Module, batch: Batch, threat_model: ThreatModel, *, settle: float | None, seed: int) -> Ours:
    """Our AutoAttack over all images in one call; settle None: every part to its end."""
    started = time.process_time()
    counted = Counted(fused(folded(model))).eval()

    def craft(images: Tensor, labels: Tensor) -> Tensor:
        return autoattack.attack(
            counted, images, labels, threat_model=threat_model, generator=torch.Generator().manual_seed(seed),
            stop_margin=STOP_MARGIN, settle=settle,
        )  # fmt: skip

    every_image = torch.ones(len(batch.labels), dtype=torch.bool)
    intact = standing(counted, batch, craft, threat_model, every_image, size=len(batch.labels))
    seconds = time.process_time() - started
    gradient, forward = _costs(counted.model, batch)
    floor = counted.gradients * gradient + counted.answers * forward
    return Ours(tuple(intact.tolist()), seconds, counted.gradients, counted.answers, floor)


def _costs(model: nn.Module, batch: Batch) -> tuple[float, float]:
    """Seconds of CPU for one image's gradient, and for one answer: the fastest of five calls."""
    count = min(100, len(batch.labels))
    images, labels = to_pixels(batch.images[:count], device=_CPU), torch.from_numpy(batch.labels[:count])
    gradients, answers = [], []
    for _ in range(5):
        started = time.process_time()
        look(model, images, labels, dlr)
        between = time.process_time()
        answer(model, images)
        gradients.append((between - started) / count)
        answers.append((time.process_time() - between) / count)
    return min(gradients), min(answers)


def peer(model: nn.Module, batch: Batch, threat_model: ThreatModel, *, path: Path) -> Peer:
    """torchattacks' four parts, or what `path` says of an earlier measurement."""
    if path.exists():
        stored = json.loads(path.read_text())
        return Peer(tuple(map(bool, stored["mask"])), tuple((n, c, s) for n, c, s in stored["parts"]))
    libraries.enable("torchattacks")
    intact, parts = torch.ones(len(batch.labels), dtype=torch.bool), []
    for name, made in AUTOATTACK.items():
        attack = made(model, threat_model)
        started = time.process_time()
        intact = standing(model, batch, attack, threat_model, intact, size=_AT_ONCE)
        parts.append((name, int(intact.sum()), time.process_time() - started))
    measured = Peer(tuple(intact.tolist()), tuple(parts))
    write_bytes(path, json.dumps({"parts": measured.parts, "mask": [int(stands) for stands in measured.standing]}).encode())
    return measured


def line(name: str, eps: str, mine: Ours, theirs: Peer | None) -> tuple[str, ...]:
    """One row of the table."""
    count = len(mine.standing)
    cells = [name, eps, str(count), f"{sum(mine.standing) / count:.1%}"]
    if theirs is None:
        cells += ["-", "-", f"{mine.seconds:.1f}", "-", "-"]
    else:
        only = sum(left and not gone for left, gone in zip(mine.standing, theirs.standing, strict=True))
        cells += [
            f"{sum(theirs.standing) / count:.1%}", str(only), f"{mine.seconds:.1f}", f"{theirs.seconds:.1f}",
            f"{theirs.seconds / mine.seconds:.1f}",
        ]  # fmt: skip
    return (*cells, f"{mine.gradients:,}", f"{mine.answers:,}", f"{mine.seconds / mine.floor:.2f}")


HEADER = (
    "model", "eps", "images", "ours", "torchattacks", "broken by it alone", "ours, s", "torchattacks, s", "ratio",
    "gradients", "answers", "ours / floor",
)  # fmt: skip


def main() -> None:
    """Print a row for each run and radius, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--eps", nargs="+", required=True)
    parser.add_argument("--images", type=int, default=200, help="how many test images (default 200)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (default 0)")
    parser.add_argument("--settle", type=float, default=2.0, help="of autoattack; 0: every part to its end (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="of our random starts (default 0)")
    parser.add_argument("--no-peer", action="store_true", help="ours alone")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="keeps the measured cells of both")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for run in options.runs:
        model, batch = load_run_model(run), clean_batch(run, images=options.first + options.images)
        batch = Batch(batch.images[options.first :], batch.labels[options.first :])
        ours(model, clean_batch(run, images=8), ThreatModel("linf", parse_eps("1/255")), settle=1, seed=0)  # warms up
        for eps in options.eps:
            threat_model = ThreatModel("linf", parse_eps(eps))
            mine = as_a_command(partial(ours, model, batch, threat_model, settle=options.settle or None, seed=options.seed))
            cell = f"{run.name}-{eps.removesuffix('/255')}-{options.first}-{options.images}.json"
            write_bytes(options.work / f"ours-{options.settle:g}-{options.seed}-{cell}", json.dumps(asdict(mine)).encode())
            theirs = None if options.no_peer else peer(model, batch, threat_model, path=options.work / f"peer-{cell}")
            rows.append(line(run.name, eps, mine, theirs))
            print(" | ".join(rows[-1]), flush=True)
    print(table(HEADER, rows))


if __name__ == "__main__":
    main()
