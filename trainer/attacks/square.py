"""Square Attack: random search with shrinking squares (Andriushchenko et al. 2020, https://arxiv.org/abs/1912.00049)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.look import Worst, answer
from skinaudit.trainer.ascent.starts import check_counts
from skinaudit.trainer.ascent.windows import first_windows, moved_windows
from skinaudit.trainer.attack_trace import AttackTrace

ANSWERS_ALONE = True
SETTINGS: dict[str, Any] = {"queries": 5000, "share": 0.8, "targeted": False, "stop_margin": None}

_HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Query numbers, for a budget of ten thousand, after which the share of pixels in a square is halved."""
_LOOKS = tuple(4**power for power in range(3, 7))
"""Number of queries after which the search checks for images that it will probably not break."""


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    queries: int = 5000,
    share: float = 0.8,
    targeted: bool = False,
    stop_margin: float | None = None,
    trace: AttackTrace | None = None,
) -> Tensor:
    """Make `queries` proposals per image and keep each one that raises the margin. Uses no gradients.

    share: of an image's pixels that the first square covers. Under l2 the squares are windows that pass their length on; see
    `ascent.windows`. Shapes, dtypes and `targeted` as in pgd-dlr; stop_margin as in apgd-ce. Raises InvalidInputError for
    settings out of range.
    """
    check_counts("square", queries=queries)
    if not 0 < share <= 1:
        raise InvalidInputError(f"square: share {share}: needs a share above 0, at most 1")
    worst = Worst(images, labels, targeted=targeted, trace=trace)
    if trace is not None:
        trace.open(len(images), stages=[queries], device=images.device)
    search(
        model, images, worst=worst, threat_model=threat_model, generator=generator, queries=queries, share=share,
        stop_margin=stop_margin,
    )  # fmt: skip
    return worst.images


def search(
    model: nn.Module,
    images: Tensor,
    *,
    worst: Worst,
    threat_model: ThreatModel,
    generator: torch.Generator,
    queries: int,
    share: float = 0.8,
    stop_margin: float | None = None,
    settle: float | None = None,
) -> None:
    """The search for the images that are not broken yet, reported to `worst`. Under linf it starts from vertical stripes.

    settle: only with a stop_margin. An image also leaves if, with each doubling of the queries, its margin would have to
    rise this many times as much as in the last two doublings. Images on which the search is ahead of the earlier attacks
    stay.
    """
    index = worst.standing()
    if not len(index):
        return
    clean, before_search = images[index], worst.margin[index]
    best = _first(clean, threat_model, generator)
    before, after = answer(model, clean), answer(model, best)
    # reported in place of a gradient: whether the search sees any change
    differs = (before != after).any(1).view(-1, 1, 1, 1)
    lead = worst.meet(best, after, differs * (best - clean), index=index)
    earlier = lead
    for number in range(1, queries):
        if stop_margin is not None:
            going = lead <= stop_margin
            if settle is not None and number in _LOOKS:
                rising = (lead - earlier) / 2 * math.log2(queries / number)
                going &= (lead + settle * rising >= 0) | (lead >= before_search)
                earlier = lead
            if int(going.sum()) <= 0.9 * len(going):
                index, clean, best, lead = index[going], clean[going], best[going], lead[going]
                before_search, earlier = before_search[going], earlier[going]
        if not len(index):
            return
        covered = _covered(share, number, queries)
        moved = _proposal(best, clean, covered, threat_model, generator)
        proposed = worst.meet(moved, answer(model, moved), index=index)
        better = proposed > lead
        best = torch.where(better.view(-1, 1, 1, 1), moved, best)
        lead = torch.where(better, proposed, lead)


def _first(clean: Tensor, threat_model: ThreatModel, generator: torch.Generator) -> Tensor:
    if threat_model.norm == "l2":
        return first_windows(clean, threat_model=threat_model, generator=generator)
    stripes = threat_model.eps * _signs((len(clean), 3, 1, clean.shape[3]), clean, generator)
    return ball.project(clean + stripes, clean, threat_model=threat_model)


def _proposal(best: Tensor, clean: Tensor, covered: float, threat_model: ThreatModel, generator: torch.Generator) -> Tensor:
    """The best points with a new square that covers this share of the pixels."""
    if threat_model.norm == "l2":
        return moved_windows(best, clean, covered, threat_model=threat_model, generator=generator)
    side = max(1, min(clean.shape[2] - 1, round(math.sqrt(covered) * clean.shape[2])))
    signs = threat_model.eps * _signs((len(clean), 3, 1, 1), clean, generator)
    moved = torch.where(_squares(clean, side, generator), clean + signs, best)
    return ball.project(moved, clean, threat_model=threat_model)


def _covered(share: float, number: int, queries: int) -> float:
    scaled = number / queries * 10_000
    return share * 0.5 ** sum(scaled > step for step in _HALVED)


def _squares(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A square of `side` pixels at a random place in each image: bool (N, 1, H, W)."""
    height, width = images.shape[2:]
    inside = []
    for size in (height, width):
        first = torch.randint(size - side + 1, (len(images), 1), generator=generator, device=images.device)
        places = torch.arange(size, device=images.device)
        inside.append((places >= first) & (places < first + side))
    return (inside[0][:, :, None] & inside[1][:, None, :]).unsqueeze(1)


def _signs(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Random signs, -1 or 1."""
    return torch.randint(2, shape, generator=generator, device=like.device).to(like.dtype) * 2 - 1
