"""The record of an attack, filled while the attack runs. It covers one batch and is read once at the end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skinaudit.artifacts.attack_record import LEAD_GRADIENT, LOSS_GRADIENT, NEVER, NO_GRADIENT, POINTS, AttackRecord


class AttackTrace:
    """The notes of one call of an attack. The attack opens it, then notes every point that it evaluates, in order."""

    def open(self, images: int, *, stages: Sequence[int], device: torch.device) -> None:
        """Prepare for stages (starts or parts) of the given numbers of steps; a stage has one evaluation more than steps.

        An image that leaves the attack is not noted any more and keeps its last loss. Evaluations after the last expected
        one count as the last one.
        """
        last = sum(stages) + len(stages) - 1
        self._moments = [round(last * point / (POINTS - 1)) for point in range(POINTS)]
        before = [sum(stages[:number]) for number in range(len(stages))]
        steps = [first + step for first, count in zip(before, stages, strict=True) for step in range(count + 1)]
        begins = [step == 0 for count in stages for step in range(count + 1)]
        self._steps = torch.tensor(steps, dtype=torch.int32, device=device)
        self._begins = torch.tensor(begins, device=device)
        self._evaluations = torch.zeros(images, dtype=torch.int64, device=device)
        self._gradient = torch.zeros(images, dtype=torch.uint8, device=device)
        self._path = torch.zeros(images, POINTS, device=device)
        self._success = torch.full((images,), NEVER, dtype=torch.int32, device=device)

    def note(
        self, smooth: Tensor, succeeds: Tensor, gradient: Tensor | None, saturated: Tensor, *, index: Tensor | None = None
    ) -> None:
        """Note one evaluation of all images, or of those in `index`.

        smooth: (N,) loss, as in AttackRecord.path. succeeds: bool (N,). gradient: (N, 3, H, W), None after the last step of
        a start. saturated: bool (N,), whether the gradient is the smooth lead's.
        """
        at = torch.arange(len(self._evaluations), device=smooth.device) if index is None else index
        number = self._evaluations[at].clamp_max(len(self._steps) - 1)
        if gradient is not None and bool(self._begins[number].any()):
            kinds = torch.where(saturated, LEAD_GRADIENT, LOSS_GRADIENT)
            kinds = torch.where(gradient.flatten(1).abs().amax(1) > 0, kinds, NO_GRADIENT)
            kinds = torch.where(self._begins[number], kinds, NO_GRADIENT)
            self._gradient[at] = torch.maximum(self._gradient[at], kinds.to(torch.uint8))
        for point, moment in enumerate(self._moments):
            due = number <= moment  # later moments too, in case the image leaves before them
            self._path[at[due], point] = smooth[due].float()
        first = succeeds & (self._success[at] == NEVER)
        self._success[at[first]] = self._steps[number[first]]
        self._evaluations[at] += 1

    def record(self, kept: Tensor) -> AttackRecord:
        """The notes as arrays. kept: (N,), as in AttackRecord."""
        values = (self._gradient, self._path, self._success, kept.float())
        return AttackRecord(*(value.cpu().numpy() for value in values))
