"""Auto-PGD: steps with momentum whose size is halved when the loss stops rising (Croce and Hein 2020).

https://arxiv.org/abs/2003.01690; the constants are those of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.climb import move
from skinaudit.trainer.ascent.look import Worst, look
from skinaudit.trainer.ascent.losses import Loss, margin
from skinaudit.trainer.ascent.settling import LEAST_STEPS, SURE, Rule, too_slow

MOMENTUM = 0.75
_TRUSTED = 0.1
"""Share of the steps after which a gradient is trusted. Where the loss is curved, the gradient at a random start is not."""
_LOOKS = (0.05, 0.2, 0.8)
"""Shares of the steps at which slow images may leave; each is four times the one before."""
_COMPACT = 0.9
"""Finished images are dropped only once they are a tenth, because each new batch size needs new kernels."""
_RISING = 0.75
"""The step size is halved if a smaller share of the steps between two checks raised the loss."""


def adapt(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    worst: Worst,
    index: Tensor,
    start: Tensor,
    steps: int,
    loss: Loss,
    threat_model: ThreatModel,
    aims: Tensor | None = None,
    targeted: bool = False,
    stop_margin: float | None = None,
    settle: float | None = None,
    rule: Rule | None = None,
) -> None:
    """Increase the loss from `start` within the ball around `images`; pass each of the `steps` + 1 points to `worst`.

    Tensors have one row per image that `index` selects: n of the N images of `worst`. stop_margin: if given, an image leaves
    the loop when its margin exceeds it. This is for measuring only, because such examples lie near the boundary. settle:
    used together with stop_margin and a loss that is positive wherever the attack has succeeded. Hopeless images then leave
    too (see `hopeless`), after a tenth of the steps at the earliest. Without aims, the loss and its gain belong to all wrong
    classes together, so images also leave that are too slow (see `too_slow`). rule: if given, images settle by this stricter
    rule instead, because no other attack follows. Other parameters: see `look`.
    """
    state = _State(images, labels, index, aims, start, threat_model)
    gradient, value, logits = look(model, state.moved, labels, loss, aims=aims, targeted=targeted)
    lead = worst.meet(state.moved, logits, gradient, index=index)
    state.begin(gradient, value, lead if aims is None else margin(logits, labels, aims))
    checks, looks = set(_checks(steps)), {math.ceil(share * steps) for share in _LOOKS}
    for number in range(1, steps + 1):
        if stop_margin is not None:
            going = worst.margin[state.index] <= stop_margin
            if settle is not None and rule is not None and number - 1 >= max(SURE * steps, LEAST_STEPS):
                going &= ~state.settled(rule, settle)
            elif settle is not None and rule is None:
                if number > _TRUSTED * steps:
                    going &= ~state.hopeless(settle)
                if aims is None and number in looks:
                    lead = worst.margin[state.index]
                    going &= ~too_slow(lead, state.earlier, settle)
                    state.earlier = lead
            if not keep_rows(state, going):
                return
        state.step(first=number == 1)
        gradient, value, logits = look(model, state.moved, state.labels, loss, aims=state.aims, targeted=targeted)
        lead = worst.meet(state.moved, logits, gradient, index=state.index)
        state.note(gradient, value, lead if state.aims is None else margin(logits, state.labels, state.aims))
        if number in checks:
            state.check()


def _checks(steps: int) -> Iterator[int]:
    """Steps after which progress is checked: intervals of 22% of the steps at first, each 3% shorter, at least 6%."""
    window, shorter, least = (max(1, int(share * steps)) for share in (0.22, 0.03, 0.06))
    number = window
    while number <= steps:
        yield number
        window = max(window - shorter, least)
        number += window


class _State:
    """State of a run of Auto-PGD: one row per image that is still in the loop."""

    def __init__(
        self, images: Tensor, labels: Tensor, index: Tensor, aims: Tensor | None, start: Tensor, threat_model: ThreatModel
    ) -> None:
        self._threat_model = threat_model
        self.images, self.labels, self.index, self.aims = images, labels, index, aims
        self.moved = self.before = start
        # kept for the whole run, because every step needs them twice
        self.lower, self.upper = ball.linf_bounds(images, threat_model=threat_model)

    def begin(self, gradient: Tensor, value: Tensor, lead: Tensor) -> None:
        """Store the gradient, the loss and the margin at the start."""
        self.first = self.largest = lead
        self.gradient = self.best_gradient = gradient
        self.here = self.value = self.best_value = self.checked_value = value
        self.best = self.moved
        self.size = torch.full((len(value), 1, 1, 1), 2 * self._threat_model.eps, device=value.device)
        self.earlier = torch.full_like(value, -torch.inf)
        self.risen, self.window = torch.zeros_like(value), 0
        self.halved = torch.ones_like(value, dtype=torch.bool)

    def step(self, *, first: bool) -> None:
        """Move every image by one step."""
        share = 1.0 if first else MOMENTUM
        moved = move(
            self.moved, self.before, self.images, self.gradient,
            threat_model=self._threat_model, size=self.size, share=share, bounds=(self.lower, self.upper),
        )  # fmt: skip
        self.moved, self.before = moved, self.moved

    def note(self, gradient: Tensor, value: Tensor, lead: Tensor) -> None:
        """Store the gradient, the loss and the margin at the present points."""
        self.largest = torch.maximum(self.largest, lead)
        self.risen, self.window = self.risen + (value > self.value), self.window + 1
        better = value > self.best_value
        where = better.view(-1, 1, 1, 1)
        self.best = torch.where(where, self.moved, self.best)
        self.best_gradient = torch.where(where, gradient, self.best_gradient)
        self.best_value = torch.maximum(value, self.best_value)
        self.gradient, self.value, self.here = gradient, value, value

    def check(self) -> None:
        """Halve the step and return to the best point if the loss rose too seldom, or if its best value did not improve."""
        stuck = ~self.halved & (self.checked_value >= self.best_value)
        self.halved = (self.risen <= _RISING * self.window) | stuck
        where = self.halved.view(-1, 1, 1, 1)
        self.size = torch.where(where, self.size / 2, self.size)
        self.moved = torch.where(where, self.best, self.moved)
        self.gradient = torch.where(where, self.best_gradient, self.gradient)
        self.here = torch.where(self.halved, self.best_value, self.value)  # the loss at `moved`
        self.checked_value = self.best_value
        self.risen, self.window = torch.zeros_like(self.risen), 0

    def hopeless(self, share: float) -> Tensor:
        """Images (n,) that this run cannot break unless the gain in the ball exceeds `share` times the linear prediction.

        The criterion of Wang et al. 2019 (https://arxiv.org/abs/2112.08304). An image with a gradient of 0 is never
        hopeless.
        """
        gain = self._gain()
        return (gain > 0) & (self.here + share * gain < 0)

    def settled(self, rule: Rule, share: float) -> Tensor:
        """Images (n,) that this run will not break; see `settling`.

        An image with a gradient of 0 never settles, because momentum may still move it.
        """
        far = rule(self.here, self._gain(), first=self.first, largest=self.largest, share=share)
        return far & self.gradient.flatten(1).any(1)

    def _gain(self) -> Tensor:
        return ball.linear_gain(
            self.moved, self.images, self.gradient, threat_model=self._threat_model, bounds=(self.lower, self.upper)
        )


def keep_rows(state: object, going: Tensor) -> bool:
    """Drop finished rows from all tensors of `state` once they are at least a tenth, or all; returns whether any is left.

    going: bool (n,), one for each row.
    """
    remaining = int(going.sum())
    if remaining == 0:
        return False
    if remaining <= _COMPACT * len(going):
        for name, value in vars(state).items():
            if isinstance(value, Tensor):
                setattr(state, name, value[going])
    return True
