"""Square Attack: random search with shrinking squares (Andriushchenko et al. 2020, https://arxiv.org/abs/1912.00049)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.adaptive import keep_rows
from skinaudit.trainer.ascent.look import Worst, answer
from skinaudit.trainer.ascent.settling import too_slow
from skinaudit.trainer.ascent.starts import check_counts
from skinaudit.trainer.ascent.windows import first_windows, moved_windows
from skinaudit.trainer.attack_trace import AttackTrace

ANSWERS_ALONE = True
SETTINGS: dict[str, Any] = {"queries": 5000, "share": 0.8, "targeted": False, "stop_margin": None}

_HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Query numbers, for a budget of ten thousand, after which the share of pixels in a square is halved."""
_LOOKS = tuple(4**power for power in range(2, 7))
"""Number of queries after which the search checks for images that it will probably not break."""
_PATIENCE = 2
"""The search stays longer than the attacks that it checks, by this factor."""
_AT_ONCE = 32
"""Fewer images cost a CPU more for each of them."""


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

    settle: only with a stop_margin. An image also leaves, after 64, 256, 1024 or 4096 queries, if it misses more than
    twice this many times what its margin has gained since a quarter of the queries. Images on which the search is ahead of
    the earlier attacks stay. Where few images are left, the search tries several proposals for each at once and keeps the
    best of them.
    """
    index = worst.standing()
    if not len(index):
        return
    state = _Search(images[index], index, worst, threat_model)
    best = _first(state.clean, threat_model, generator)
    before, after = answer(model, state.clean), answer(model, best)
    # reported in place of a gradient: whether the search sees any change
    differs = (before != after).any(1).view(-1, 1, 1, 1)
    state.begin(best, worst.meet(best, after, differs * (best - state.clean), index=index))
    number, looks = 1, list(_LOOKS) if settle is not None else []
    while number < queries:
        if stop_margin is not None:
            going = state.lead <= stop_margin
            if settle is not None and looks and number >= looks[0]:
                going &= ~state.hopeless(settle)
                looks.pop(0)
            if not keep_rows(state, going):
                return
        copies = 1 if settle is None else max(1, _AT_ONCE // len(state.index))
        covered = _covered(share, number, queries)
        moved = state.proposals(copies, covered, threat_model, generator)
        state.accept(moved, worst.meet(moved, answer(model, moved), index=state.index.repeat_interleave(copies)))
        number += copies


class _Search:
    """State of a search: one row per image that is still in it."""

    def __init__(self, clean: Tensor, index: Tensor, worst: Worst, threat_model: ThreatModel) -> None:
        self.clean, self.index, self.before_search = clean, index, worst.margin[index]
        self.lower, self.upper = ball.linf_bounds(clean, threat_model=threat_model)

    def begin(self, best: Tensor, lead: Tensor) -> None:
        """Store the first points and their margins."""
        self.best, self.lead, self.earlier = best, lead, torch.full_like(lead, -torch.inf)

    def hopeless(self, settle: float) -> Tensor:
        """Images (n,) that are too slow since the last call, unless the search is ahead of the earlier attacks."""
        slow = too_slow(self.lead, self.earlier, _PATIENCE * settle)
        self.earlier = self.lead
        return slow & (self.lead < self.before_search)

    def proposals(self, copies: int, covered: float, threat_model: ThreatModel, generator: torch.Generator) -> Tensor:
        """`copies` for each image, one after another: its best point with a new square of this share of the pixels."""
        best, clean, lower, upper = (
            rows if copies == 1 else rows.repeat_interleave(copies, dim=0)
            for rows in (self.best, self.clean, self.lower, self.upper)
        )
        if threat_model.norm == "l2":
            return moved_windows(best, clean, covered, threat_model=threat_model, generator=generator)
        side = max(1, min(clean.shape[2] - 1, round(math.sqrt(covered) * clean.shape[2])))
        up = _signs((len(clean), 3, 1, 1), clean, generator) > 0
        return torch.where(_squares(clean, side, generator), torch.where(up, upper, lower), best)

    def accept(self, moved: Tensor, leads: Tensor) -> None:
        """Keep the best of each image's proposals where it is better than the best point so far."""
        lead, chosen = leads.view(len(self.index), -1).max(1)
        better = (lead > self.lead).nonzero().squeeze(1)
        copies = len(moved) // len(self.index)
        self.best = self.best.index_copy(0, better, moved[better * copies + chosen[better]])
        self.lead = torch.where(lead > self.lead, lead, self.lead)


def _first(clean: Tensor, threat_model: ThreatModel, generator: torch.Generator) -> Tensor:
    if threat_model.norm == "l2":
        return first_windows(clean, threat_model=threat_model, generator=generator)
    stripes = threat_model.eps * _signs((len(clean), 3, 1, clean.shape[3]), clean, generator)
    return ball.project(clean + stripes, clean, threat_model=threat_model)


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
