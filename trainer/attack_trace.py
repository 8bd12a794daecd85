"""The record of an attack, filled while the attack runs. It covers one batch and is read once at the end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from skinaudit.artifacts.attack_record import LEAD_GRADIENT, LOSS_GRADIENT, NEVER, NO_GRADIENT, POINTS, AttackRecord


class AttackTrace:
    """The notes of one call of an attack. The attack opens it, then notes every point that it evaluates, in order."""

    def open(self, images: int, *, stages: Sequence[int], device: torch.device) -> None:
        """Prepare for stages (starts or parts) of the given numbers of steps; a stage has one evaluation more than steps.

        An image that leaves the attack is not noted any more. Evaluations after the last expected one count as the last
        one.
        """
        self._last = sum(stages) + len(stages) - 1
        # number of the first evaluation of each stage
        self._firsts = torch.tensor([0, *accumulate(count + 1 for count in stages[:-1])], device=device)
        self._evaluations = torch.zeros(images, dtype=torch.int64, device=device)
        self._gradient = torch.zeros(images, dtype=torch.uint8, device=device)
        self._losses: list[tuple[Tensor, Tensor, Tensor]] = []  # of each call: images, their evaluations so far, losses
        self._success = torch.full((images,), NEVER, dtype=torch.int32, device=device)

    def note(
        self, smooth: Tensor, succeeds: Tensor, gradient: Tensor | None, saturated: Tensor, *, index: Tensor | None = None
    ) -> None:
        """Note one evaluation of all images, or of those in `index`.

        smooth: (N,) loss, as in AttackRecord.path. succeeds: bool (N,). gradient: (N, 3, H, W), None after the last step of
        a start. saturated: bool (N,), whether the gradient is the smooth lead's.
        """
        at = torch.arange(len(self._evaluations), device=smooth.device) if index is None else index
        number = self._evaluations[at].clamp_max(self._last)
        stage = torch.searchsorted(self._firsts, number, right=True) - 1
        begins = number == self._firsts[stage]
        if gradient is not None and bool(begins.any()):
            kinds = torch.where(saturated, LEAD_GRADIENT, LOSS_GRADIENT)
            kinds = torch.where(gradient.flatten(1).abs().amax(1) > 0, kinds, NO_GRADIENT)
            kinds = torch.where(begins, kinds, NO_GRADIENT)
            self._gradient[at] = torch.maximum(self._gradient[at], kinds.to(torch.uint8))
        self._losses.append((at, self._evaluations[at], smooth.float()))
        first = succeeds & (self._success[at] == NEVER)
        # each earlier stage has one evaluation more than steps
        self._success[at[first]] = (number - stage)[first].to(torch.int32)
        self._evaluations[at] += 1

    def record(self, kept: Tensor) -> AttackRecord:
        """The notes as arrays. kept: (N,), as in AttackRecord."""
        values = (self._gradient, self._path(), self._success, kept.float())
        return AttackRecord(*(value.cpu().numpy() for value in values))

    def _path(self) -> Tensor:
        """The loss of each image at POINTS evenly spaced evaluations of its own: (N, POINTS)."""
        most = max([1, *self._evaluations.tolist()])
        history = torch.zeros(len(self._evaluations), most, device=self._evaluations.device)
        for at, number, losses in self._losses:
            history[at, number] = losses
        shares = torch.linspace(0, 1, POINTS, dtype=torch.float64, device=history.device)
        moments = ((self._evaluations - 1).clamp_min(0).view(-1, 1) * shares).round().long()
        return history.gather(1, moments)
