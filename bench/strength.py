"""Robust accuracy that attacks leave on a run's model, in 8 bit, beside torchattacks' AutoAttack on the same images.

python bench/strength.py RUN --eps 4/255 --eps 8/255 --images 200 --attack pgd --attack pgd-dlr --factor 35 [--peer]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.bench import libraries
from skinaudit.bench.attacks import Batch, clean_batch
from skinaudit.bench.tempered import Tempered
from skinaudit.trainer import attacks, ball
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.evaluate import to_pixels
from skinaudit.trainer.models import folded

_BATCH = 100
Crafted = Callable[[Tensor, Tensor], Tensor]
"""From images float32 (N, 3, H, W) and labels (N,) to perturbed images."""


def ours(name: str, model: nn.Module, threat_model: ThreatModel) -> Crafted:
    """An attack of skinaudit by its name and settings, as the command line has them."""
    function, settings = attacks.load(*attacks.parse(name))
    generator = torch.Generator().manual_seed(0)

    def craft(images: Tensor, labels: Tensor) -> Tensor:
        return function(model, images, labels, threat_model=threat_model, generator=generator, **settings)

    return craft


def peers(model: nn.Module, threat_model: ThreatModel, *, classes: int, steps: int, queries: int) -> dict[str, Crafted]:
    """torchattacks' parts of AutoAttack, with so many steps (its own default is 10) and queries."""
    import torchattacks

    shared = {"eps": threat_model.eps, "norm": "Linf", "seed": 0, "n_restarts": 1}
    return {
        "APGD-CE": torchattacks.APGD(model, steps=steps, loss="ce", **shared),
        "APGD-T": torchattacks.APGDT(model, steps=steps, n_classes=classes, **shared),
        "FAB-T": torchattacks.FAB(model, steps=steps, multi_targeted=True, n_classes=classes, **shared),
        "Square": torchattacks.Square(model, n_queries=queries, **shared),
    }


def standing(model: nn.Module, batch: Batch, craft: Crafted, threat_model: ThreatModel, among: Tensor) -> Tensor:
    """Which of the images that `among` (bool (N,)) names are still answered rightly on the 8-bit grid: bool (N,)."""
    intact = among.clone()
    for rows in among.nonzero().squeeze(1).split(_BATCH):
        original, labels = batch.images[rows.numpy()], torch.from_numpy(batch.labels[rows.numpy()])
        perturbed = craft(to_pixels(original, device=torch.device("cpu")), labels).detach()
        grid = ball.to_grid(perturbed, torch.from_numpy(original), threat_model=threat_model)
        with torch.no_grad():
            intact[rows] = model(to_pixels(grid.numpy(), device=torch.device("cpu"))).argmax(1) == labels
    return intact


def lines(options: argparse.Namespace, eps: str) -> Iterator[str]:
    """A line for each attack; the peer's parts are a cascade, each on what the former left."""
    model, batch = (
        Tempered(folded(load_run_model(options.run)), options.factor).eval(),
        clean_batch(options.run, images=options.images),
    )
    threat_model, everything = ThreatModel("linf", parse_eps(eps)), torch.ones(len(batch.labels), dtype=torch.bool)
    where = f"{options.run.name} {threat_model}, {len(batch.labels)} images, logits x {options.factor:g}"
    for name in options.attack:
        started = time.process_time()
        intact = standing(model, batch, ours(name, model, threat_model), threat_model, everything)
        yield f"{where}: {name} leaves {intact.float().mean():.1%}, {time.process_time() - started:.0f} s of CPU"
    if options.peer:
        libraries.enable("torchattacks")
        intact, started = everything, time.process_time()
        with torch.no_grad():
            classes = model(to_pixels(batch.images[:1], device=torch.device("cpu"))).shape[1]
        parts = peers(model, threat_model, classes=classes, steps=options.peer_steps, queries=options.peer_queries)
        for name, craft in parts.items():
            intact = standing(model, batch, craft, threat_model, intact)
            seconds = time.process_time() - started
            yield f"{where}: torchattacks to {name} leaves {intact.float().mean():.1%}, {seconds:.0f} s"


def main() -> None:
    """Print a line for each attack and radius."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--eps", action="append", required=True)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--attack", action="append", default=[])
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--peer", action="store_true", help="torchattacks as well")
    parser.add_argument("--peer-steps", type=int, default=10)
    parser.add_argument("--peer-queries", type=int, default=5000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for eps in options.eps:
        for line in lines(options, eps):
            print(line, flush=True)


if __name__ == "__main__":
    main()
