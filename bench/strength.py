"""Robust accuracy and time of each attack beside the same one of torchattacks: same model, images, radius and budget.

python bench/strength.py RUN... --eps 1/255 2/255 4/255 --images 200

Robust accuracy is that on the 8-bit grid. Both get the trained model in evaluation mode; our times include folding it. A
small batch warms both up, on a GPU a whole one, since cuDNN prepares for each size. There is one round, with one random
start.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.bench import libraries
from skinaudit.bench.attacks import Batch, clean_batch
from skinaudit.bench.report import machine, table
from skinaudit.bench.tempered import Tempered
from skinaudit.errors import MissingDependencyError
from skinaudit.trainer import attacks, ball
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.evaluate import to_pixels
from skinaudit.trainer.fused import fused
from skinaudit.trainer.models import folded

Crafted = Callable[[Tensor, Tensor], Tensor]
"""From images float32 (N, 3, H, W) and labels (N,) to perturbed images."""

_PEER = "torchattacks"
_CLASSES = "n_classes"
"""A setting of some attacks of the peer that the model fills in."""


@dataclass(frozen=True)
class Pair:
    """One attack as both have it. ours: on skinaudit's command line. peer: the class of torchattacks, with its settings;
    none where it has no such attack. cascade: further parts of the peer, each on the images that the former left.
    """

    ours: str
    peer: str | None = None
    settings: Mapping[str, Any] | None = None
    cascade: tuple[tuple[str, Mapping[str, Any]], ...] = ()


_SEEDED: Mapping[str, Any] = {"norm": "Linf", "seed": 0, "n_restarts": 1}
_APGD_CE = ("APGD", {**_SEEDED, "steps": 100, "loss": "ce"})
_APGD_T = ("APGDT", {**_SEEDED, "steps": 100, _CLASSES: None})
_FAB_T = ("FAB", {**_SEEDED, "steps": 100, "multi_targeted": True, _CLASSES: None})
_SQUARE = ("Square", {**_SEEDED, "n_queries": 5000})

PAIRS: Mapping[str, Pair] = {
    "FGSM": Pair("fgsm", "FGSM"),
    "PGD-40": Pair("pgd:steps=40", "PGD", {"steps": 40}),
    "MI-FGSM-10": Pair("mi-fgsm:steps=10", "MIFGSM", {"steps": 10}),
    "PGD-DLR-40": Pair("pgd-dlr:steps=40"),
    "APGD-CE-100": Pair("apgd-ce:steps=100", *_APGD_CE),
    "APGD-DLR-100": Pair("apgd-dlr:steps=100", "APGD", {**_SEEDED, "steps": 100, "loss": "dlr"}),
    "APGD-T-100": Pair("apgd-t:steps=100", *_APGD_T),
    "FAB-T-100": Pair("fab-t:steps=100", *_FAB_T),
    "Square-5000": Pair("square:queries=5000", *_SQUARE),
    "AutoAttack, 100 steps": Pair("autoattack", *_APGD_CE, cascade=(_APGD_T, _FAB_T, _SQUARE)),
    "AutoAttack, measuring": Pair("autoattack:stop_margin=0.0,settle=2.0", *_APGD_CE, cascade=(_APGD_T, _FAB_T, _SQUARE)),
    "AutoAttack, 10 steps": Pair("autoattack:steps=10", "AutoAttack", {"norm": "Linf", "seed": 0, _CLASSES: None}),
}
"""torchattacks' own AutoAttack takes 10 steps where the original takes 100; both are here."""


@dataclass(frozen=True)
class Row:
    """Robust accuracies in shares of 1, seconds of wall clock; None where the peer has no such attack, or it failed."""

    model: str
    eps: str
    attack: str
    factor: float
    images: int
    ours: float
    ours_seconds: float
    peer: float | None = None
    peer_seconds: float | None = None
    error: str = ""


def standing(
    model: nn.Module, batch: Batch, craft: Crafted, threat_model: ThreatModel, among: Tensor, *, size: int
) -> Tensor:
    """Which of the images that `among` (bool (N,)) names are still answered rightly on the 8-bit grid: bool (N,)."""
    device = next(model.parameters()).device
    intact = among.clone()
    for rows in among.nonzero().squeeze(1).split(size):
        original, labels = batch.images[rows.numpy()], torch.from_numpy(batch.labels[rows.numpy()]).to(device)
        perturbed = craft(to_pixels(original, device=device), labels).detach()
        grid = ball.to_grid(perturbed.cpu(), torch.from_numpy(original), threat_model=threat_model)
        with torch.no_grad():
            intact[rows] = (model(to_pixels(grid.numpy(), device=device)).argmax(1) == labels).cpu()
    return intact


def by_us(name: str, model: nn.Module, threat_model: ThreatModel, batch: Batch, *, size: int) -> Tensor:
    """Which images our attack leaves: bool (N,)."""
    function, settings = attacks.load(*attacks.parse(name))
    quick = _quick(model.model if isinstance(model, Tempered) else model)
    frozen = Tempered(quick, model.factor).eval() if isinstance(model, Tempered) else quick
    generator = torch.Generator(next(frozen.parameters()).device).manual_seed(0)

    def craft(images: Tensor, labels: Tensor) -> Tensor:
        return function(frozen, images, labels, threat_model=threat_model, generator=generator, **settings)

    return standing(frozen, batch, craft, threat_model, _every_image(batch), size=size)


def _quick(model: nn.Module) -> nn.Module:
    frozen = folded(model)
    return fused(frozen) if next(frozen.parameters()).device.type == "cpu" else frozen


def by_peer(pair: Pair, model: nn.Module, threat_model: ThreatModel, batch: Batch, *, size: int) -> Tensor:
    """Which images torchattacks' attack, or its cascade, leaves: bool (N,)."""
    intact = _every_image(batch)
    for _, attack in peer_parts(pair, model, threat_model):
        torch.manual_seed(0)
        intact = standing(model, batch, attack, threat_model, intact, size=size)
    return intact


def peer_parts(pair: Pair, model: nn.Module, threat_model: ThreatModel) -> Iterator[tuple[str, Crafted]]:
    """The parts of torchattacks' cascade by name, each made for this model when it is asked for."""
    import torchattacks

    assert pair.peer is not None
    for name, own_settings in ((pair.peer, pair.settings or {}), *pair.cascade):
        settings = {key: _class_count(model) if key == _CLASSES else value for key, value in own_settings.items()}
        step = {"alpha": 2.5 * threat_model.eps / 40} if name == "PGD" else {}
        step = {"alpha": threat_model.eps / settings["steps"]} if name == "MIFGSM" else step
        yield name, getattr(torchattacks, name)(model, eps=threat_model.eps, **settings, **step)


@torch.no_grad()
def _class_count(model: nn.Module) -> int:
    """How many logits it gives, by the answer to an image of 64 pixels."""
    device = next(model.parameters()).device
    return int(model(torch.zeros(1, 3, 64, 64, device=device)).shape[1])


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """A row for each run, radius and pair."""
    for run in options.runs:
        trained = load_run_model(run).to(torch.device(options.device))
        model = trained if options.factor == 1 else Tempered(trained, options.factor).eval()
        batch, few = (
            clean_batch(run, images=options.images),
            clean_batch(run, images=8 if options.device == "cpu" else options.batch),
        )
        for eps in options.eps:
            threat_model = ThreatModel("linf", parse_eps(eps))
            for name in options.attacks:
                measured = compare(PAIRS[name], model, batch, few, threat_model, options)
                yield Row(run.name, eps, name, options.factor, len(batch.labels), **measured)


def compare(
    pair: Pair, model: nn.Module, batch: Batch, few: Batch, threat_model: ThreatModel, options: argparse.Namespace
) -> dict[str, Any]:
    """What the attack leaves of `batch` and its seconds, ours and the peer's; each sees `few` images before."""
    ours = partial(by_us, pair.ours, model, threat_model, size=options.batch)
    ours(few)
    standing_share, seconds = _timed(ours, batch)
    measured: dict[str, Any] = {"ours": standing_share, "ours_seconds": seconds}
    if pair.peer is None or options.no_peer:
        return measured
    theirs = partial(by_peer, pair, model, threat_model, size=options.batch)
    try:
        theirs(few)
        measured["peer"], measured["peer_seconds"] = _timed(theirs, batch)
    except Exception as error:  # a peer that breaks is a row, not the end of the table
        measured["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
    return measured


def _every_image(batch: Batch) -> Tensor:
    return torch.ones(len(batch.labels), dtype=torch.bool)


def _timed(attack: Callable[[Batch], Tensor], batch: Batch) -> tuple[float, float]:
    """The share of images that still stands, and the seconds."""
    started = time.perf_counter()
    intact = attack(batch)  # comes back to the CPU, so that a GPU has done its work
    return float(intact.float().mean()), time.perf_counter() - started


def page(measured: list[Row]) -> str:
    """The rows as Markdown."""
    header = ("model", "eps", "attack", "images", "ours, %", f"{_PEER}, %", "difference", "ours, s", f"{_PEER}, s", "ratio")
    lines = []
    for row in measured:
        name = row.attack if row.factor == 1 else f"{row.attack}, logits x {row.factor:g}"
        if row.peer is None or row.peer_seconds is None:
            peer = (row.error or "-", "-", f"{row.ours_seconds:.1f}", "-", "-")
        else:
            difference = f"{100 * (row.ours - row.peer):+.1f}"
            ratio = f"{row.peer_seconds / row.ours_seconds:.1f}"
            peer = (f"{100 * row.peer:.1f}", difference, f"{row.ours_seconds:.1f}", f"{row.peer_seconds:.1f}", ratio)
        lines.append((row.model, row.eps, name, str(row.images), f"{100 * row.ours:.1f}", *peer))
    return table(header, lines)


def main() -> None:
    """Print the table; with --output write it, and its rows as JSON, after each row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--eps", nargs="+", required=True)
    parser.add_argument("--images", type=int, default=200, help="the first test images (default 200)")
    parser.add_argument("--batch", type=int, default=100, help="images of one call (default 100)")
    parser.add_argument("--attacks", nargs="+", choices=PAIRS, default=list(PAIRS), metavar="NAME", help=", ".join(PAIRS))
    parser.add_argument("--factor", type=float, default=1.0, help="times all logits (default 1)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--no-peer", action="store_true", help="ours alone")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="the table, with its rows in a .json beside it")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.no_peer:
        try:
            libraries.enable(_PEER)
        except MissingDependencyError as error:
            parser.exit(2, f"strength: {error}; --no-peer does without\n")
    measured: list[Row] = []
    for row in rows(options):
        measured.append(row)
        print(page(measured[-1:]).splitlines()[-1], flush=True)
        if options.output is not None:
            name = torch.cuda.get_device_name(0) if options.device == "cuda" else machine(options.threads)
            write_bytes(options.output, f"On {name}.\n\n{page(measured)}".encode())
            content = json.dumps([asdict(row) for row in measured], indent=1) + "\n"
            write_bytes(options.output.with_suffix(".json"), content.encode())


if __name__ == "__main__":
    main()
