"""What an attack leaves: the images that a model still answers rightly, before and after rounding, and the CPU time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.bench.attacks import Batch
from skinaudit.bench.strength_parts.peers import Crafted, Maker
from skinaudit.bench.tempered import Tempered
from skinaudit.trainer import attacks, ball
from skinaudit.trainer.ascent.boundary import length
from skinaudit.trainer.evaluate import to_pixels
from skinaudit.trainer.input_gradients.fused import fused
from skinaudit.trainer.models import folded

_SLACK = 1e-4
"""Share by which a perturbation may be longer than eps, for float rounding."""


@dataclass(frozen=True)
class Left:
    """Images that stand: bool (N,). rounded: on the 8-bit grid, inside the ball. unrounded: as the attack returned them,
    where a point outside the ball does not count. seconds: of CPU, on a GPU of wall clock.
    """

    rounded: Tensor
    unrounded: Tensor
    seconds: float


def by_us(name: str, model: nn.Module, threat_model: ThreatModel, batch: Batch, *, size: int) -> Left:
    """What our attack, named as on the command line, leaves; the seconds include folding the model."""
    function, settings = attacks.load(*attacks.parse(name))

    def made(frozen: nn.Module, threat_model: ThreatModel) -> Crafted:
        generator = torch.Generator(_device(frozen)).manual_seed(0)

        def craft(images: Tensor, labels: Tensor) -> Tensor:
            return function(frozen, images, labels, threat_model=threat_model, generator=generator, **settings)

        return craft

    started = _now(_device(model))
    quick = _quick(model)
    folding = _now(_device(model)) - started
    left = by_peer((made,), quick, threat_model, batch, size=size)
    return Left(left.rounded, left.unrounded, left.seconds + folding)


def by_peer(parts: Sequence[Maker], model: nn.Module, threat_model: ThreatModel, batch: Batch, *, size: int) -> Left:
    """What the attacks leave, each made for the images that the former left, rounded.

    Images that are answered wrongly without an attack are not attacked: some attacks only leave the present answer, and
    would make these right.
    """
    rounded = unrounded = _right(model, batch)
    seconds = 0.0
    for made in parts:
        started = _now(_device(model))
        craft = made(model, threat_model)
        after, as_returned = _after(model, batch, craft, threat_model, rounded, size=size)
        rounded, unrounded = after, unrounded & as_returned
        seconds += _now(_device(model)) - started
    return Left(rounded, unrounded, seconds)


def standing(
    model: nn.Module, batch: Batch, craft: Crafted, threat_model: ThreatModel, among: Tensor, *, size: int
) -> Tensor:
    """Which of the images that `among` (bool (N,)) names are still answered rightly on the 8-bit grid: bool (N,)."""
    return _after(model, batch, craft, threat_model, among, size=size)[0]


def _after(
    model: nn.Module, batch: Batch, craft: Crafted, threat_model: ThreatModel, among: Tensor, *, size: int
) -> tuple[Tensor, Tensor]:
    """Those of `among` that stand after rounding, and as they were returned."""
    rounded, unrounded = among.clone(), among.clone()
    for rows in among.nonzero().squeeze(1).split(size):
        original, labels = batch.images[rows.numpy()], torch.from_numpy(batch.labels[rows.numpy()]).to(_device(model))
        clean = to_pixels(original, device=_device(model))
        perturbed = craft(clean, labels).detach()
        grid = ball.to_grid(perturbed.cpu(), torch.from_numpy(original), threat_model=threat_model)
        with torch.no_grad():
            rounded[rows] = (model(to_pixels(grid.numpy(), device=_device(model))).argmax(1) == labels).cpu()
            outside = length(perturbed - clean, norm=threat_model.norm) > threat_model.eps * (1 + _SLACK)
            unrounded[rows] = ((model(perturbed).argmax(1) == labels) | outside).cpu()
    return rounded, unrounded


@torch.no_grad()
def _right(model: nn.Module, batch: Batch) -> Tensor:
    pixels = to_pixels(batch.images, device=_device(model))
    return model(pixels).argmax(1).cpu() == torch.from_numpy(batch.labels)


def _quick(model: nn.Module) -> nn.Module:
    if isinstance(model, Tempered):
        return Tempered(_quick(model.model), model.factor).eval()
    frozen = folded(model)
    return fused(frozen) if _device(frozen).type == "cpu" else frozen


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _now(device: torch.device) -> float:
    """CPU time, since other programs may keep the machine busy; on a GPU the wall clock."""
    return time.process_time() if device.type == "cpu" else time.perf_counter()
